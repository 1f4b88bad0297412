{{/* What whoever keeps secrets may do in the whole cluster. */}}
{{- define "homelab.keeper.clusterrules" -}}
# Whether a policy of secrets is in force stands in its status.
- apiGroups: [homelab.dev]
  resources: [secretpolicies/status, clustersecretpolicies/status]
  verbs: [patch, update]

# Logins to the secret server are checked by the API server.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
# Or, where somebody chose so, by its public keys. Clusters let every ServiceAccount read them unless that was taken away.
- nonResourceURLs: [/.well-known/openid-configuration, /openid/v1/jwks]
  verbs: [get]

# The webhook that brings secrets into opted-in pods outside Apps, with the CA that the daemon makes itself, and the
# policy that such a pod never runs without them.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingwebhookconfigurations, validatingadmissionpolicies, validatingadmissionpolicybindings]
  verbs: [create, patch, update]
{{- end }}

{{/* What it may do in its own namespace. */}}
{{- define "homelab.keeper.rules" -}}
# The CA's certificate and the server's address, for clients.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [homelab-ca]
  verbs: [get, update, patch]
# The copy of the store's head, by which a store that was put back is noticed.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [homelab-head]
  verbs: [get, patch]
# Both are made at the first start; what is made can not be named here.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
# The CA's key, and the store's if a slot of it is in a Secret.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [homelab-tls, homelab-key]
  verbs: [get, update, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- if eq .Values.storage.type "kubernetes" }}
# The store: Secrets of type homelab.dev/store, made and taken away with each write. RBAC knows neither types nor labels,
# and their names are random, so this can only be held by the namespace.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]
{{- end }}
{{- end }}
