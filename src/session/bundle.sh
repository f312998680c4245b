# Bundles what a session has committed; run inside of the session's sandbox. Arguments: its branch, the commit that it
# began at.
set -eu
branch=$1 base=$2
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_NO_REPLACE_OBJECTS=1
# What was pushed by now, whoever fetches may not have.
if [ "$(git rev-list --count "refs/heads/$branch" --not --exclude="origin/$branch" --remotes "$base")" -eq 0 ]; then
    echo "nothing is committed on $branch that is not on another branch of origin" >&2
    exit 1
fi
exec git -c core.hooksPath=/dev/null bundle create --quiet - "refs/heads/$branch" --not \
    --exclude="origin/$branch" --remotes "$base"
