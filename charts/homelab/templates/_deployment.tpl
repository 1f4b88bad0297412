{{/*
One Deployment: `part` is all, or with `split` one of secrets and daemon. Its context is (dict "root" $ "part" PART).
*/}}
{{- define "homelab.deployment" -}}
{{- $part := .part }}
{{- $component := include "homelab.component" $part }}
{{- $keeps := ne $part "daemon" }}
{{- with .root }}
{{- $name := include "homelab.partname" (dict "root" . "part" $part) }}
{{- $inCluster := eq .Values.storage.type "kubernetes" }}
{{- $onHost := and $keeps (eq .Values.storage.type "hostPath") }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "homelab.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ $component }}
spec:
  replicas: 1
  strategy:
    {{- if or $inCluster (not $keeps) }}
    type: RollingUpdate
    {{- else }}
    # The embedded store has one writer: never two at once, so the old one stops before the new one starts.
    type: Recreate
    {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels:
      {{- include "homelab.selector" (dict "root" . "component" $component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "homelab.labels" . | nindent 8 }}
        app.kubernetes.io/component: {{ $component }}
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $name }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      # Long enough for running requests, and for a helm child to be told to stop.
      terminationGracePeriodSeconds: 30
      securityContext:
        runAsNonRoot: {{ not $onHost }}
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile:
          type: RuntimeDefault
      {{- if $onHost }}
      initContainers:
        # The kubelet makes the directory as root, and fsGroup does not reach a hostPath.
        - name: own-directory
          image: {{ include "homelab.image" (dict "image" .Values.image "appVersion" .Chart.AppVersion) }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [chown, "65532:65532", /var/lib/homelab]
          securityContext:
            runAsUser: 0
            runAsGroup: 0
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
              add: [CHOWN]
          volumeMounts:
            - name: data
              mountPath: /var/lib/homelab
      {{- end }}
      containers:
        - name: homelab
          image: {{ include "homelab.image" (dict "image" .Values.image "appVersion" .Chart.AppVersion) }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [homelab]
          args:
            - daemon
            - --data-dir=/var/lib/homelab
            {{- if eq $part "secrets" }}
            - --enable=secrets
            - --daemon-account={{ .Release.Namespace }}/{{ include "homelab.fullname" . }}
            {{- else if eq $part "daemon" }}
            - --enable=gitops,rollout
            {{- end }}
            {{- if and $keeps $inCluster }}
            - --store=kubernetes
            {{- end }}
            {{- if and $keeps .Values.bootstrap.waitForRestore }}
            - --wait-for-restore
            {{- end }}
            - --service={{ include "homelab.fullname" . }}
            - --agent-image={{ include "homelab.image" (dict "image" .Values.agent.image "appVersion" .Chart.AppVersion) }}
            - --agent-pull-policy={{ .Values.agent.image.pullPolicy }}
            {{- if ne $part "secrets" }}
            - --listen-debug=127.0.0.1:9091
            - --propagation={{ .Values.propagation }}
            {{- end }}
            {{- if $keeps }}
            - --audit-sync={{ .Values.audit.sync }}
            - --audit-file-size={{ .Values.audit.fileSize }}
            - --audit-total-size={{ .Values.audit.totalSize }}
            {{- range .Values.backup.to }}
            - --backup-to={{ . }}
            {{- end }}
            {{- if .Values.backup.to }}
            - --backup-every={{ .Values.backup.every }}
            - --backup-keep={{ .Values.backup.keep }}
            {{- end }}
            {{- if eq .Values.storage.type "emptyDir" }}
            - --no-rollback-check
            {{- else if .Values.strictRollback }}
            - --strict-rollback
            {{- end }}
            {{- end }}
            {{- with .Values.namespaces }}
            - --namespaces={{ join "," . }}
            {{- end }}
            {{- if .Values.logJson }}
            - --log-json
            {{- end }}
            {{- with .Values.extraArgs }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          env:
            - name: HOMELAB_DAEMON_NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
            - name: HOMELAB_POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
          {{- if and $keeps .Values.backup.credentialsSecret }}
          envFrom:
            - secretRef:
                name: {{ .Values.backup.credentialsSecret }}
          {{- end }}
          ports:
            {{- if $keeps }}
            - {name: secrets, containerPort: 8200}
            - {name: admission, containerPort: 8443}
            {{- end }}
            {{- if ne $part "secrets" }}
            - {name: hooks, containerPort: 8080}
            {{- end }}
            - {name: metrics, containerPort: 9090}
          startupProbe:
            httpGet: {path: /healthz, port: metrics}
            periodSeconds: 1
            failureThreshold: 60
          readinessProbe:
            httpGet: {path: /readyz, port: metrics}
            periodSeconds: 2
          livenessProbe:
            httpGet: {path: /healthz, port: metrics}
            periodSeconds: 10
            failureThreshold: 6
          resources:
            {{- toYaml (eq $part "secrets" | ternary .Values.secrets.resources .Values.resources) | nindent 12 }}
          securityContext:
            runAsNonRoot: true
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: data
              mountPath: /var/lib/homelab
            - name: tmp
              mountPath: /tmp
            {{- if not $keeps }}
            - name: token
              mountPath: /var/run/secrets/homelab.dev
              readOnly: true
            {{- end }}
            {{- with .Values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {}
        {{- if not $keeps }}
        # By which the daemon is known to the secret server, and to nobody else.
        - name: token
          projected:
            sources:
              - serviceAccountToken: {audience: homelab, expirationSeconds: 3600, path: token}
        # Repositories and charts; fetched again when the pod is a new one.
        {{- end }}
        - name: data
          {{- if not $keeps }}
          emptyDir: {}
          {{- else if eq .Values.storage.type "pvc" }}
          persistentVolumeClaim:
            claimName: {{ .Values.storage.existingClaim | default (include "homelab.fullname" .) }}
          {{- else if eq .Values.storage.type "hostPath" }}
          hostPath:
            path: {{ .Values.storage.hostPath }}
            type: DirectoryOrCreate
          {{- else }}
          emptyDir: {}
          {{- end }}
        {{- with .Values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if and $onHost .Values.storage.nodeName }}
      nodeSelector:
        kubernetes.io/hostname: {{ .Values.storage.nodeName }}
        {{- with .Values.nodeSelector }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- else }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end }}
