{{/* Name of everything: the release's, with the chart's unless it is in it already. */}}
{{- define "homelab.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Name of the webhook configuration that the daemon writes. */}}
{{- define "homelab.webhook" -}}
{{- if eq .Release.Namespace "homelab" }}homelab{{ else }}homelab-{{ .Release.Namespace }}{{ end }}
{{- end }}

{{/* The pods of a component: (dict "root" $ "component" "daemon"). */}}
{{- define "homelab.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Which component a part is: all of it together is called daemon, too. */}}
{{- define "homelab.component" -}}
{{- eq . "secrets" | ternary "secrets" "daemon" }}
{{- end }}

{{/* Name of a part's Deployment and ServiceAccount: (dict "root" $ "part" "secrets"). */}}
{{- define "homelab.partname" -}}
{{- include "homelab.fullname" .root }}{{ eq .part "secrets" | ternary "-secrets" "" }}
{{- end }}

{{- define "homelab.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "homelab.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .appVersion) }}
{{- end }}
