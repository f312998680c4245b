{{/* The chart's name, for labels. */}}
{{- define "pilothouse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all objects. 50 characters, so that the longest suffix fits into 63. */}}
{{- define "pilothouse.fullname" -}}
{{- $name := include "pilothouse.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "pilothouse.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pilothouse.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pilothouse.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pilothouse.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "pilothouse.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "pilothouse.tokenSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-token" (include "pilothouse.fullname" .)) }}
{{- end }}

{{- define "pilothouse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pilothouse.fullname" .) }}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* Whether callers need a token; false where the configuration says `auth.required: false`. */}}
{{- define "pilothouse.authRequired" -}}
{{- $auth := .Values.config.auth | default dict }}
{{- if ne (toString (dig "required" true $auth)) "false" }}true{{ end }}
{{- end }}

{{/* What the server speaks: with `config.server.tls` it has certificates of its own. */}}
{{- define "pilothouse.scheme" -}}
{{- if dig "tls" "cert" "" (.Values.config.server | default dict) }}https{{ else }}http{{ end }}
{{- end }}

{{/* Whether the A2AServer is made: `true`, or `auto` in a cluster that knows the kind. */}}
{{- define "pilothouse.a2aserver" -}}
{{- $enabled := toString .Values.a2aserver.enabled }}
{{- if eq $enabled "true" }}true
{{- else if and (eq $enabled "auto") (.Capabilities.APIVersions.Has "ark.mckinsey.com/v1prealpha1") }}true
{{- end }}
{{- end }}

{{/* Seconds of an age as the configuration writes it (1500ms, 90s, 1h30m, 30d, a plain number), rounded up. */}}
{{- define "pilothouse.seconds" -}}
{{- if kindIs "string" . }}
{{- if regexMatch "^[0-9]+$" . }}{{ . }}
{{- else }}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9]+ *(ms|s|m|h|d)" . -1 }}
{{- $sum = addf $sum (mulf (regexFind "^[0-9]+" . | float64) (get $units (regexFind "[a-z]+$" .))) }}
{{- end }}
{{- ceil $sum | int }}
{{- end }}
{{- else }}{{ int . }}
{{- end }}
{{- end }}

{{/* config.timeouts.KEY in seconds; the argument is (list ROOT KEY DEFAULT). */}}
{{- define "pilothouse.timeout" -}}
{{- $timeouts := (index . 0).Values.config.timeouts | default dict }}
{{- include "pilothouse.seconds" (dig (index . 1) (index . 2) $timeouts) }}
{{- end }}

{{- define "pilothouse.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- add 15 (include "pilothouse.timeout" (list . "shutdown" "20s") | int) }}
{{- else }}{{ int .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{/* Whether there is anything to copy into the sessions' ~/.claude. */}}
{{- define "pilothouse.hasDefaults" -}}
{{- if or .Values.claude.claudeDefaultsConfigMap .Values.claude.claudeMdConfigMap .Values.claude.skills }}true{{ end }}
{{- end }}

{{/* pilothouse.yaml: the values under `config`, and what follows from the other values. */}}
{{- define "pilothouse.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $server := $config.server | default dict }}
{{- $fullname := include "pilothouse.fullname" . }}
{{- $service := printf "%s.%s.svc.%s" $fullname .Release.Namespace .Values.clusterDomain }}
{{- $hosts := list $fullname (printf "%s.%s" $fullname .Release.Namespace) (printf "%s.%s.svc" $fullname .Release.Namespace) $service }}
{{- $scheme := include "pilothouse.scheme" . }}
{{- $usual := ternary 443 80 (eq $scheme "https") }}
{{- $url := printf "%s://%s%s/" $scheme $service (ternary "" (printf ":%d" (int .Values.service.port)) (eq (int .Values.service.port) $usual)) }}
{{- if .Values.ingress.enabled }}
{{- $hosts = concat .Values.ingress.hosts $hosts }}
{{- $url = printf "%s://%s/" (ternary "https" "http" .Values.ingress.tls.enabled) (first .Values.ingress.hosts) }}
{{- end }}
{{- $_ := set $server "public_url" ($server.public_url | default $url) }}
{{- $_ := set $server "allowed_hosts" (concat ($server.allowed_hosts | default list) $hosts | uniq) }}
{{- $_ := set $config "server" $server }}
{{- if .Values.initSession }}
{{- $_ := set $config "sessions" (merge (dict "init" "/etc/pilothouse/init-session.sh") ($config.sessions | default dict)) }}
{{- end }}
{{- if and .Values.claude.mcpConfigMap $config.isolation }}
{{- $_ := set $config.isolation "read" (append ($config.isolation.read | default list) "/config" | uniq) }}
{{- end }}
{{- toYaml $config }}
{{- end }}
