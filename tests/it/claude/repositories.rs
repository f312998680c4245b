//! Claude Code in a clone of a repository: it commits on its session's branch, and its edits are there.

use super::answer;
use super::walls::behind;
use crate::reading::{message_in, state};
use crate::repositories::{commit, git, repository};
use fake_model::Model;
use serde_json::json;

#[test]
fn claude_edits_and_commits_in_its_clone_behind_both_walls() {
    for wall in ["bubblewrap", "landlock"] {
        let model = Model::start();
        let described = behind(&model, wall);
        let shop = repository(&described, "shop");
        commit(&shop, "CLAUDE.md", "Be brief.");
        let world = described
            .config(json!({
                "workspace": {"mode": "repository", "repository": {"url": shop}},
                "agents": {"claude": {"permission_mode": "bypassPermissions"}},
            }))
            .start();
        for text in [
            "write note.txt some words",
            "bash: git add note.txt && git commit -qm 'a note' && git log --format='%s by %an' && git branch",
        ] {
            let task = world.send(message_in("c", text));
            assert_eq!(state(&task), "COMPLETED", "{task:#}");
            let said = answer(&task);
            assert!(
                text.starts_with("write") || said.contains("a note by claude-code"),
                "{wall}: {said}"
            );
            assert!(text.starts_with("write") || said.contains("* pilothouse/"), "{wall}: {said}");
        }
        assert_eq!(git(&shop, &["log", "--format=%s"]), "Be brief.\nfirst");
    }
}
