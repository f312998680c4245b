//! Agent cards, and what our own doors answer.

use super::schema::Side::{Answers, Asks};
use super::schema::{Add, count, flag, free, list, object, of, one_of, text, texts, time};
use pilothouse_a2a::card::{GRPC, HTTP_JSON, JSONRPC};
use serde_json::json;

/// Adds the schemas.
pub(super) fn add(add: &mut Add<'_>) {
    cards(add);
    ours(add);
}

fn cards(add: &mut Add<'_>) {
    add(
        "AgentCard",
        object(
            Answers,
            "Who an agent is, what it can do and where it is reached.",
            [
                ("name!", text("The agent's name.")),
                ("description!", text("What it is good for.")),
                ("supportedInterfaces!", list("AgentInterface")),
                (
                    "provider",
                    object(
                        Answers,
                        "Who runs the agent.",
                        [("url!", text("Their site.")), ("organization!", text("Their name."))],
                    ),
                ),
                ("version!", text("The agent's own version.")),
                ("documentationUrl", text("Where it is described for people.")),
                ("capabilities!", of("AgentCapabilities")),
                (
                    "securitySchemes",
                    json!({"type": "object", "additionalProperties": of("SecurityScheme")}),
                ),
                ("securityRequirements", list("SecurityRequirement")),
                ("defaultInputModes!", texts("Media types that it reads.")),
                ("defaultOutputModes!", texts("Media types that it writes.")),
                ("skills!", list("AgentSkill")),
                ("signatures", list("AgentCardSignature")),
                ("iconUrl", text("A picture of the agent.")),
            ],
        ),
    );
    let bindings = [JSONRPC, HTTP_JSON, GRPC];
    add(
        "AgentInterface",
        object(
            Answers,
            "One way to reach the agent, the preferred one first.",
            [
                ("url!", text("The endpoint; `host:port` for gRPC.")),
                ("protocolBinding!", json!({"type": "string", "examples": bindings})),
                ("tenant", text("The tenant to name in requests.")),
                ("protocolVersion!", text("The version that is spoken there.")),
            ],
        ),
    );
    add(
        "AgentCapabilities",
        object(
            Answers,
            "Which optional operations the agent has.",
            [
                ("streaming", flag("Streams of events.")),
                ("pushNotifications", flag("Push notifications.")),
                ("extensions", list("AgentExtension")),
                ("extendedAgentCard", flag("A richer card for known callers.")),
            ],
        ),
    );
    add(
        "AgentExtension",
        object(
            Answers,
            "An extension of the protocol.",
            [
                ("uri!", text("Its name.")),
                ("description", text("How this agent uses it.")),
                ("required", flag("Clients must name it in `A2A-Extensions`.")),
                ("params", free("Its parameters.")),
            ],
        ),
    );
    add(
        "AgentSkill",
        object(
            Answers,
            "One thing that the agent can do.",
            [
                ("id!", text("Unique within the card.")),
                ("name!", text("A name for people.")),
                ("description!", text("What it does.")),
                ("tags!", texts("Words to find it by.")),
                ("examples", texts("Prompts to try.")),
                ("inputModes", texts("Media types that it reads, when not the card's.")),
                ("outputModes", texts("Media types that it writes, when not the card's.")),
                ("securityRequirements", list("SecurityRequirement")),
            ],
        ),
    );
    add(
        "SecurityRequirement",
        object(
            Answers,
            "Schemes that are needed together, each with its scopes.",
            [(
                "schemes!",
                json!({"type": "object", "additionalProperties": object(
                    Answers, "Scopes.", [("list!", texts("The scopes."))],
                )}),
            )],
        ),
    );
    let scheme = object(
        Answers,
        "An HTTP authentication scheme.",
        [
            ("description", text("A sentence for people.")),
            ("scheme!", text("Its name (`Bearer`).")),
            ("bearerFormat", text("What a token looks like.")),
        ],
    );
    let other = || free("As the specification has it (4.5).");
    add(
        "SecurityScheme",
        one_of(
            Answers,
            "One way to authenticate.",
            [
                ("httpAuthSecurityScheme", scheme),
                ("apiKeySecurityScheme", other()),
                ("oauth2SecurityScheme", other()),
                ("openIdConnectSecurityScheme", other()),
                ("mtlsSecurityScheme", other()),
            ],
        ),
    );
    add(
        "AgentCardSignature",
        object(
            Answers,
            "A JSON Web Signature over the card.",
            [
                ("protected!", text("The protected header, base64url.")),
                ("signature!", text("The signature, base64url.")),
                ("header", free("The unprotected header.")),
            ],
        ),
    );
    add(
        "LegacyAgentCard",
        object(
            Asks,
            "A card with the members of v0.3, alone or beside those of v1.0.",
            [
                ("name!", text("The agent's name.")),
                ("description!", text("What it is good for.")),
                ("version!", text("The agent's own version.")),
                ("protocolVersion!", text("The version of the older protocol.")),
                ("url!", text("The preferred endpoint.")),
                ("preferredTransport", text("Its binding.")),
                ("capabilities!", free("Which optional operations the agent has.")),
                ("skills!", json!({"type": "array", "items": {"type": "object"}})),
            ],
        ),
    );
    add(
        "JsonWebKeySet",
        object(
            Answers,
            "The keys that cards are signed with (RFC 7517).",
            [(
                "keys!",
                json!({"type": "array", "items": object(
                    Asks,
                    "A public key.",
                    [("kty!", text("Its kind.")), ("kid", text("Its id in signatures."))],
                )}),
            )],
        ),
    );
}

fn ours(add: &mut Add<'_>) {
    add(
        "Health",
        object(
            Answers,
            "The process answers.",
            [("status!", json!({"const": "ok"})), ("version!", text("The server's version."))],
        ),
    );
    add(
        "Readiness",
        object(
            Answers,
            "Whether the server can take messages.",
            [
                ("status!", json!({"enum": ["ready", "not ready"]})),
                ("store!", json!({"enum": ["ok", "failed"]})),
                ("stopping!", flag("The server is on its way down.")),
                (
                    "agent",
                    object(
                        Answers,
                        "The default agent. This and what follows are for callers with a token.",
                        [("name!", text("Its name.")), ("driver!", text("Its driver."))],
                    ),
                ),
                ("agents", texts("The names by which agents are reached.")),
                ("isolation", free("What is between the agent and the machine.")),
                (
                    "processes",
                    object(
                        Answers,
                        "Agent processes.",
                        [("live!", count("Now.")), ("max!", count("At most (`processes.max`)."))],
                    ),
                ),
                ("waiting", count("Tasks that wait for their turn.")),
            ],
        ),
    );
    add(
        "Session",
        object(
            Answers,
            "A conversation of one caller with one agent, with its folder.",
            [
                ("id!", text("Names the session's folder.")),
                ("contextId!", text("The conversation.")),
                ("agent!", text("The agent.")),
                (
                    "conversation!",
                    json!({"type": ["string", "null"], "description": "The id that the agent itself has for it."}),
                ),
                ("live!", flag("It has a process now.")),
                (
                    "activity!",
                    json!({"type": "object", "description": "What it does now: `state` (`idle`, `starting`, `running`, `waiting`, `ending`, `broken`), `waitsFor` of one that waits, `since`, and `taskId` where a task is concerned."}),
                ),
                ("created!", time("When it began.")),
                ("used!", time("When it was last used.")),
                ("workspace!", text("Its folder.")),
            ],
        ),
    );
    add(
        "Ask",
        object(
            Answers,
            "A question or a tool permission that an agent waits for.",
            [
                ("askId!", text("The ask; answered at `/api/v1/asks/{id}`.")),
                ("taskId!", text("The task that asks.")),
                ("contextId!", text("Its conversation.")),
                ("agent!", text("The agent.")),
                ("kind!", text("`permission` or `question`.")),
                ("tool", text("The tool that a permission is for.")),
                ("title", text("The agent's own words for a permission.")),
                ("text", text("The question.")),
                (
                    "input",
                    json!({"description": "What the tool would run with, or the agent's own form of the question."}),
                ),
                (
                    "options!",
                    json!({"type": "array", "items": {"type": "object"}, "description": "What may be chosen: `id` and `name`."}),
                ),
                ("created!", time("Since when it is open.")),
                ("deadline!", time("Until when it is open.")),
            ],
        ),
    );
    add(
        "Asks",
        object(
            Answers,
            "A page of the caller's open asks, oldest first.",
            [
                ("asks!", list("Ask")),
                ("nextPageToken!", text("Leads to the next page; empty on the last one.")),
                ("pageSize!", count("How many asks a page may have.")),
                ("totalSize!", count("How many asks there are on all pages.")),
            ],
        ),
    );
    add(
        "Sessions",
        object(
            Answers,
            "The caller's sessions, last used first.",
            [("sessions!", list("Session"))],
        ),
    );
}
