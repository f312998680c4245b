//! An MCP server on standard input and output: tools that answer, and tools that ask a person.

use crate::play::await_cue;
use crate::usage;
use serde_json::{Value, json};
use std::io::{self, BufRead, Write};

/// Serves requests until standard input ends.
pub(crate) fn play(mode: &str) -> io::Result<u8> {
    match mode {
        "well" => {}
        "late" => await_cue("mcp")?,
        "dies" => {
            eprintln!("no licence was found");
            return Ok(3);
        }
        _ => return Err(usage("the mode of an MCP server is well, late or dies")),
    }
    let mut lines = io::stdin().lock().lines();
    while let Some(line) = lines.next() {
        let message: Value = serde_json::from_str(&line?)?;
        let id = &message["id"];
        let result = match message["method"].as_str() {
            Some("initialize") => json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "fake", "version": "1"},
            }),
            Some("tools/list") => {
                let nothing = json!({"type": "object", "properties": {}});
                let tool =
                    |name| json!({"name": name, "description": name, "inputSchema": nothing});
                let tools = ["echo", "elicit", "visit"].map(tool);
                json!({ "tools": tools })
            }
            Some("tools/call") => {
                let text = match message["params"]["name"].as_str() {
                    Some("elicit") => ask(&mut lines, &form())?,
                    Some("visit") => ask(&mut lines, &address())?,
                    _ => "echoed".to_owned(),
                };
                json!({"content": [{"type": "text", "text": text}]})
            }
            Some(_) if !id.is_null() => json!({}),
            _ => continue,
        };
        write(&json!({"jsonrpc": "2.0", "id": id, "result": result}))?;
    }
    Ok(0)
}

fn form() -> Value {
    json!({"mode": "form", "message": "Which account?", "requestedSchema": {
        "type": "object",
        "properties": {
            "account": {"type": "string", "maxLength": 4},
            "amount": {"type": "integer", "minimum": 1},
        },
        "required": ["account"],
    }})
}

fn address() -> Value {
    json!({"mode": "url", "message": "Sign in", "url": "https://example.com/sign", "elicitationId": "e-1"})
}

/// Asks the client, and says its answer as JSON.
fn ask(lines: &mut impl Iterator<Item = io::Result<String>>, params: &Value) -> io::Result<String> {
    write(
        &json!({"jsonrpc": "2.0", "id": "ask", "method": "elicitation/create", "params": params}),
    )?;
    for line in lines {
        let message: Value = serde_json::from_str(&line?)?;
        if message["id"] == "ask" {
            return Ok(format!("elicited {}", message["result"]));
        }
    }
    Ok("nobody answered".to_owned())
}

fn write(message: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}
