# Counts what a clone has that is nowhere else; run inside of the session's sandbox. Argument: the commit that the
# session began at. Its caller has what lies below refs/pilothouse/saved. Says: changed files, commits.
set -eu
base=$1
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_OPTIONAL_LOCKS=0
# Not in a pipe: a git that fails must end this script, not count as nothing.
status=$(git -c core.fsmonitor=false -c core.hooksPath=/dev/null status --porcelain --untracked-files=normal)
changed=$(printf %s "${status:+$status
}" | wc -l)
saved=$(git rev-parse --verify --quiet "refs/pilothouse/saved^{commit}" || :)
commits=$(git rev-list --count HEAD --branches --not --remotes "$base" ${saved:+"$saved"})
stashed=0
if git show-ref --verify --quiet refs/stash; then
    stashed=$(git rev-list --count --walk-reflogs refs/stash)
fi
echo "$changed $((commits + stashed))"
