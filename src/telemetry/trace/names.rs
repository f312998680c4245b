//! The names of attributes: one table, from which the documentation is made. A rename of the conventions is one line here.

use crate::config::Conventions;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Name {
    /// The name of today's conventions.
    pub name: &'static str,
    /// The name that older back ends know, where it is another one.
    pub older: Option<&'static str>,
    /// What it says.
    pub meaning: &'static str,
}

macro_rules! attributes {
    ($($variant:ident $name:literal $(($older:literal))? $meaning:literal;)*) => {
        /// What a span says of what it measures.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum SpanAttribute {
            $(#[doc = $meaning] $variant,)*
        }

        impl SpanAttribute {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its row.
            pub const fn row(self) -> Name {
                match self {
                    $(Self::$variant => Name {
                        name: $name,
                        older: attributes!(@older $($older)?),
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
    (@older) => { None };
    (@older $older:literal) => { Some($older) };
}

attributes! {
    Operation "gen_ai.operation.name" "`invoke_agent`, `execute_tool` or `chat`";
    Provider "gen_ai.provider.name" ("gen_ai.system") "who serves the model, where the driver says it: `anthropic` for Claude Code";
    Agent "gen_ai.agent.name" "the agent's name in the configuration";
    Conversation "gen_ai.conversation.id" "the `contextId`";
    RequestModel "gen_ai.request.model" "the model, as the agent names it";
    ResponseModel "gen_ai.response.model" "the model that answered, as the agent names it";
    InputTokens "gen_ai.usage.input_tokens" "input tokens, with those of caches";
    OutputTokens "gen_ai.usage.output_tokens" "output tokens";
    CacheReadTokens "gen_ai.usage.cache_read.input_tokens" "input tokens read from a cache";
    CacheWriteTokens "gen_ai.usage.cache_write.input_tokens" ("gen_ai.usage.cache_creation.input_tokens") "input tokens written to a cache";
    Cost "gen_ai.usage.cost" "cost in US dollars, as the agent states it; of no convention, and read by Langfuse";
    Tool "gen_ai.tool.name" "the tool";
    ToolCall "gen_ai.tool.call.id" "the agent's id of the call";
    ToolArguments "gen_ai.tool.call.arguments" "content: the tool's input";
    ToolResult "gen_ai.tool.call.result" "content: what the tool returned";
    InputMessages "gen_ai.input.messages" "content: the caller's message";
    OutputMessages "gen_ai.output.messages" "content: the answer";
    Method "a2a.method.name" "the operation, by its name in A2A 1.0";
    Task "a2a.task.id" "the task";
    TaskState "a2a.task.state" "the task's state when the span ends";
    Session "session.id" "the `contextId` too: Phoenix and Langfuse group by it";
    SpanKind "openinference.span.kind" "`AGENT`, `TOOL`, `LLM` or `CHAIN`, for Phoenix";
    ErrorType "error.type" "the code of the failure ([failures](api.md#errors)), `_OTHER` for a tool that failed, or the reason of a refusal";
    AskKind "pilothouse.ask.kind" "`permission` or `question`";
    AskTool "pilothouse.ask.tool" "the tool that a permission is for";
    AskOutcome "pilothouse.ask.outcome" "the decision, or `expired`, `withdrawn`, `failed`";
    AskBy "pilothouse.ask.by" "the caller who answered: the name of a token";
    Disposition "pilothouse.turn.disposition" "how the segment ended: `ended`, `parked` (its process left while a person was waited for) or `interrupted` (the server ended)";
    EgressReason "pilothouse.egress.reason" "why the proxy refused a request of the agent; the host is not told";
    RequestOutcome "pilothouse.request.outcome" "`ok`, or the reason of the refusal, as in the audit log";
}

impl SpanAttribute {
    /// Its name under these conventions.
    pub const fn name(self, conventions: Conventions) -> &'static str {
        let row = self.row();
        match (conventions, row.older) {
            (Conventions::Older, Some(older)) => older,
            _ => row.name,
        }
    }

    /// Whether it holds what people and agents said, and is there by opt-in alone.
    pub const fn is_content(self) -> bool {
        matches!(
            self,
            Self::ToolArguments | Self::ToolResult | Self::InputMessages | Self::OutputMessages
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_each_name_with_its_meaning() {
        let page = include_str!("../../../docs/telemetry.md");
        for attribute in SpanAttribute::ALL {
            let Name { name, older, meaning } = attribute.row();
            let older = older.map(|older| format!(" (`older`: `{older}`)")).unwrap_or_default();
            let row = format!("| `{name}`{older} | {meaning} |");
            assert!(page.contains(&row), "docs/telemetry.md lacks the row\n{row}");
        }
        let rows = page.lines().filter(|line| {
            ["gen_ai.", "a2a.", "session.", "openinference.", "error.", "pilothouse."]
                .iter()
                .any(|begin| line.starts_with(&format!("| `{begin}")))
        });
        assert_eq!(rows.count(), SpanAttribute::ALL.len(), "the page has rows of no attribute");
    }

    #[test]
    fn content_stands_in_the_table_as_such() {
        for attribute in SpanAttribute::ALL {
            let is_marked = attribute.row().meaning.starts_with("content: ");
            assert_eq!(attribute.is_content(), is_marked, "{attribute:?}");
        }
    }
}
