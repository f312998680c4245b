//! Bytes that the Python SDKs wrote (1.3.0 for v1.0, 0.3.26 for v0.3), each with what it means as
//! JSON of v1.0: what another implementation says is what we read, and what we write.

use crate::value;
use pilothouse_a2a::card::AgentCard;
use pilothouse_a2a::dialect::Dialect;
use pilothouse_a2a::operation::{
    Call, ListTaskPushNotificationConfigsResponse, ListTasksResponse, Operation, Reply,
};
use pilothouse_a2a::pb;
use pilothouse_a2a::{StreamResponse, TaskPushNotificationConfig};
use serde_json::value::RawValue;

/// Requests of v1.0.
const CALLS: &[(Operation, &str, &str)] = &[
    (
        Operation::SendMessage,
        "0a016e120b0a016d20012a040a0268691a2c0a0a746578742f706c61696e121a221868747470733a2f2f\
         6578616d706c652e636f6d2f686f6f6b18002001220a0a080a016b12031a0176",
        r#"{"tenant": "n", "message": {"messageId": "m", "role": "ROLE_USER",
        "parts": [{"text": "hi"}]}, "configuration": {"acceptedOutputModes": ["text/plain"],
        "taskPushNotificationConfig": {"url": "https://example.com/hook"},
        "historyLength": 0, "returnImmediately": true}, "metadata": {"k": "v"}}"#,
    ),
    (Operation::GetTask, "0a016e1201741800", r#"{"tenant": "n", "id": "t", "historyLength": 0}"#),
    (
        Operation::ListTasks,
        "0a016e120163180320072a017a30023a0b08a0cdfbc80610c0a9d33a4001",
        r#"{"tenant": "n", "contextId": "c", "status": "TASK_STATE_COMPLETED", "pageSize": 7,
        "pageToken": "z", "historyLength": 2,
        "statusTimestampAfter": "2025-11-20T10:00:00.123Z", "includeArtifacts": true}"#,
    ),
    (
        Operation::CancelTask,
        "0a016e1201741a0a0a080a016b12031a0176",
        r#"{"tenant": "n", "id": "t", "metadata": {"k": "v"}}"#,
    ),
    (Operation::SubscribeToTask, "0a016e120174", r#"{"tenant": "n", "id": "t"}"#),
    (
        Operation::CreateTaskPushNotificationConfig,
        "0a016e1201701a0174221868747470733a2f2f6578616d706c652e636f6d2f686f6f6b2a0177320b0a06\
         426561726572120178",
        r#"{"tenant": "n", "id": "p", "taskId": "t", "url": "https://example.com/hook",
        "token": "w", "authentication": {"scheme": "Bearer", "credentials": "x"}}"#,
    ),
    (
        Operation::GetTaskPushNotificationConfig,
        "0a016e1201741a0170",
        r#"{"tenant": "n", "taskId": "t", "id": "p"}"#,
    ),
    (
        Operation::ListTaskPushNotificationConfigs,
        "0a017410051a017a22016e",
        r#"{"taskId": "t", "pageSize": 5, "pageToken": "z", "tenant": "n"}"#,
    ),
    (
        Operation::DeleteTaskPushNotificationConfig,
        "0a016e1201741a0170",
        r#"{"tenant": "n", "taskId": "t", "id": "p"}"#,
    ),
    (Operation::GetExtendedAgentCard, "0a016e", r#"{"tenant": "n"}"#),
];

/// Answers of v1.0.
const REPLIES: &[(Operation, &str, &str)] = &[
    (
        Operation::SendMessage,
        "0a0a0a01741201631a020808",
        r#"{"task": {"id": "t", "contextId": "c",
        "status": {"state": "TASK_STATE_AUTH_REQUIRED"}}}"#,
    ),
    (
        Operation::ListTasks,
        "0a0a0a01741201631a02080712017a180120ac02",
        r#"{"tasks": [{"id": "t", "contextId": "c",
        "status": {"state": "TASK_STATE_REJECTED"}}], "nextPageToken": "z", "pageSize": 1,
        "totalSize": 300}"#,
    ),
    (
        Operation::GetTaskPushNotificationConfig,
        "0a016e1201701a0174221868747470733a2f2f6578616d706c652e636f6d2f686f6f6b2a0177320b0a06\
         426561726572120178",
        r#"{"tenant": "n", "id": "p", "taskId": "t", "url": "https://example.com/hook",
        "token": "w", "authentication": {"scheme": "Bearer", "credentials": "x"}}"#,
    ),
    (
        Operation::ListTaskPushNotificationConfigs,
        "0a330a016e1201701a0174221868747470733a2f2f6578616d706c652e636f6d2f686f6f6b2a0177320b\
         0a0642656172657212017812017a",
        r#"{"configs": [{"tenant": "n", "id": "p", "taskId": "t",
        "url": "https://example.com/hook", "token": "w",
        "authentication": {"scheme": "Bearer", "credentials": "x"}}], "nextPageToken": "z"}"#,
    ),
    (
        Operation::GetExtendedAgentCard,
        "0a016e1201641a1f0a0f6578616d706c652e636f6d3a3434331204475250431a016e2203312e3022180a\
         1368747470733a2f2f6578616d706c652e636f6d12016f2a0131321568747470733a2f2f6578616d706c\
         652e636f6d2f643a38080110001a300a1768747470733a2f2f6578616d706c652e636f6d2f6578741201\
         65180122100a0e0a0161120911000000000000f03f2001427f0a04636f646512771a750a016f12590a57\
         0a1568747470733a2f2f6578616d706c652e636f6d2f61121568747470733a2f2f6578616d706c652e63\
         6f6d2f741a1568747470733a2f2f6578616d706c652e636f6d2f72220e0a0372756e12076d6179207275\
         6e28011a1568747470733a2f2f6578616d706c652e636f6d2f6d4a0f0a0d0a04636f646512050a037275\
         6e520a746578742f706c61696e5a0a746578742f706c61696e62270a017312016e1a01642201742a0165\
         3201693a016f42100a0e0a04636f646512060a04726561646a190a03653330120463326c6e1a0c0a0a0a\
         036b696412031a016b721968747470733a2f2f6578616d706c652e636f6d2f692e706e67",
        r#"{"name": "n", "description": "d", "supportedInterfaces": [{"url": "example.com:443",
        "protocolBinding": "GRPC", "tenant": "n", "protocolVersion": "1.0"}],
        "provider": {"url": "https://example.com", "organization": "o"}, "version": "1",
        "documentationUrl": "https://example.com/d", "capabilities": {"streaming": true,
        "pushNotifications": false, "extensions": [{"uri": "https://example.com/ext",
        "description": "e", "required": true, "params": {"a": 1}}],
        "extendedAgentCard": true},
        "securitySchemes": {"code": {"oauth2SecurityScheme": {"description": "o",
        "flows": {"authorizationCode": {"authorizationUrl": "https://example.com/a",
        "tokenUrl": "https://example.com/t", "refreshUrl": "https://example.com/r",
        "scopes": {"run": "may run"}, "pkceRequired": true}},
        "oauth2MetadataUrl": "https://example.com/m"}}},
        "securityRequirements": [{"schemes": {"code": {"list": ["run"]}}}],
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "n", "description": "d", "tags": ["t"],
        "examples": ["e"], "inputModes": ["i"], "outputModes": ["o"],
        "securityRequirements": [{"schemes": {"code": {"list": ["read"]}}}]}],
        "signatures": [{"protected": "e30", "signature": "c2ln", "header": {"kid": "k"}}],
        "iconUrl": "https://example.com/i.png"}"#,
    ),
    (
        Operation::GetExtendedAgentCard,
        "0a016e3a00421b0a0361706912140a120a016112066865616465721a05582d4b6579421e0a06636c6965\
         6e7412141a121210120e0a01741201721a060a016112016242210a0664657669636512171a1512132a11\
         0a01641201741a017222060a0161120162421a0a0468747470121212100a016812064265617265721a03\
         4a575442200a08696d706c6963697412141a1212101a0e0a01741201721a060a016112016242240a046f\
         696463121c221a0a0169121568747470733a2f2f6578616d706c652e636f6d2f6f42200a087061737377\
         6f726412141a121210220e0a01741201721a060a0161120162420c0a03746c7312052a030a016d",
        r#"{"name": "n", "capabilities": {},
        "securitySchemes": {"device": {"oauth2SecurityScheme": {"flows": {"deviceCode": {"deviceAuthorizationUrl": "d",
        "tokenUrl": "t", "refreshUrl": "r", "scopes": {"a": "b"}}}}},
        "password": {"oauth2SecurityScheme": {"flows": {"password": {"tokenUrl": "t",
        "refreshUrl": "r", "scopes": {"a": "b"}}}}},
        "client": {"oauth2SecurityScheme": {"flows": {"clientCredentials": {"tokenUrl": "t",
        "refreshUrl": "r", "scopes": {"a": "b"}}}}},
        "http": {"httpAuthSecurityScheme": {"description": "h", "scheme": "Bearer",
        "bearerFormat": "JWT"}},
        "implicit": {"oauth2SecurityScheme": {"flows": {"implicit": {"authorizationUrl": "t",
        "refreshUrl": "r", "scopes": {"a": "b"}}}}},
        "oidc": {"openIdConnectSecurityScheme": {"description": "i",
        "openIdConnectUrl": "https://example.com/o"}},
        "tls": {"mtlsSecurityScheme": {"description": "m"}},
        "api": {"apiKeySecurityScheme": {"description": "a", "location": "header",
        "name": "X-Key"}}}}"#,
    ),
];

/// Events of v1.0.
const EVENTS: &[(&str, &str)] = &[
    (
        "0ac6020a01741201631a1f0802120e0a017320022a070a056f6e2069741a0b08a0cdfbc80610c0a9d33a\
         223a0a01611206616e737765721a016422060a04646f6e652a090a070a01781202200032176874747073\
         3a2f2f6578616d706c652e636f6d2f6578742acb010a016d1201631a017420012a160a0268692a100a0e\
         0a016b120911000000000000f03f2a25120200ff3205612e62696e3a186170706c69636174696f6e2f6f\
         637465742d73747265616d2a171a1568747470733a2f2f6578616d706c652e636f6d2f782a0422020800\
         2a30222e2a2c0a2a0a016e122532230a0911000000000000f03f0a091100000000000004400a0220010a\
         031a01730a02080032120a100a0161120b2a090a070a0162120232003a1768747470733a2f2f6578616d\
         706c652e636f6d2f65787442017232130a110a04636f7374120911000000000000d03f",
        r#"{"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING",
        "message": {"messageId": "s", "role": "ROLE_AGENT", "parts": [{"text": "on it"}]},
        "timestamp": "2025-11-20T10:00:00.123Z"}, "artifacts": [{"artifactId": "a",
        "name": "answer", "description": "d", "parts": [{"text": "done"}],
        "metadata": {"x": false}, "extensions": ["https://example.com/ext"]}],
        "history": [{"messageId": "m", "contextId": "c", "taskId": "t", "role": "ROLE_USER",
        "parts": [{"text": "hi", "metadata": {"k": 1}}, {"raw": "AP8=", "filename": "a.bin",
        "mediaType": "application/octet-stream"}, {"url": "https://example.com/x"},
        {"data": null}, {"data": {"n": [1, 2.5, true, "s", null]}}],
        "metadata": {"a": {"b": []}}, "extensions": ["https://example.com/ext"],
        "referenceTaskIds": ["r"]}], "metadata": {"cost": 0.25}}}"#,
    ),
    (
        "120b0a016d20012a040a026869",
        r#"{"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}"#,
    ),
    (
        "1a330a01741201631a1f0802120e0a017320022a070a056f6e2069741a0b08a0cdfbc80610c0a9d33a22\
         0a0a080a016b12031a0176",
        r#"{"statusUpdate": {"taskId": "t", "contextId": "c",
        "status": {"state": "TASK_STATE_WORKING", "message": {"messageId": "s",
        "role": "ROLE_AGENT", "parts": [{"text": "on it"}]},
        "timestamp": "2025-11-20T10:00:00.123Z"}, "metadata": {"k": "v"}}}"#,
    ),
    (
        "22520a01741201631a3a0a01611206616e737765721a016422060a04646f6e652a090a070a0178120220\
         00321768747470733a2f2f6578616d706c652e636f6d2f65787420012801320a0a080a016b12031a0176",
        r#"{"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": {"artifactId": "a",
        "name": "answer", "description": "d", "parts": [{"text": "done"}],
        "metadata": {"x": false}, "extensions": ["https://example.com/ext"]},
        "append": true, "lastChunk": true, "metadata": {"k": "v"}}}"#,
    ),
];

/// Requests of v0.3.
const OLD_CALLS: &[(Operation, &str, &str)] = &[
    (
        Operation::SendMessage,
        "0a0b0a016d20012a040a02686912460a0a746578742f706c61696e12340a0170121868747470733a2f2f\
         6578616d706c652e636f6d2f686f6f6b1a017722120a064265617265720a054261736963120178180320\
         011a0a0a080a016b12031a0176",
        r#"{"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]},
        "configuration": {"acceptedOutputModes": ["text/plain"],
        "taskPushNotificationConfig": {"id": "p", "url": "https://example.com/hook",
        "token": "w", "authentication": {"scheme": "Bearer", "credentials": "x"}},
        "historyLength": 3}, "metadata": {"k": "v"}}"#,
    ),
    (Operation::GetTask, "0a077461736b732f741002", r#"{"id": "t", "historyLength": 2}"#),
    (Operation::CancelTask, "0a077461736b732f74", r#"{"id": "t"}"#),
    (Operation::SubscribeToTask, "0a077461736b732f74", r#"{"id": "t"}"#),
    (
        Operation::CreateTaskPushNotificationConfig,
        "0a077461736b732f741201701a590a217461736b732f742f707573684e6f74696669636174696f6e436f\
         6e666967732f7012340a0170121868747470733a2f2f6578616d706c652e636f6d2f686f6f6b1a017722\
         120a064265617265720a054261736963120178",
        r#"{"taskId": "t", "id": "p", "url": "https://example.com/hook", "token": "w",
        "authentication": {"scheme": "Bearer", "credentials": "x"}}"#,
    ),
    (
        Operation::GetTaskPushNotificationConfig,
        "0a217461736b732f742f707573684e6f74696669636174696f6e436f6e666967732f70",
        r#"{"taskId": "t", "id": "p"}"#,
    ),
    (
        Operation::ListTaskPushNotificationConfigs,
        "0a077461736b732f7410051a017a",
        r#"{"taskId": "t", "pageSize": 5, "pageToken": "z"}"#,
    ),
    (
        Operation::DeleteTaskPushNotificationConfig,
        "0a217461736b732f742f707573684e6f74696669636174696f6e436f6e666967732f70",
        r#"{"taskId": "t", "id": "p"}"#,
    ),
];

/// Answers of v0.3.
const OLD_REPLIES: &[(Operation, &str, &str)] = &[
    (
        Operation::SendMessage,
        "0a0a0a01741201631a020805",
        r#"{"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_CANCELED"}}}"#,
    ),
    (
        Operation::GetTaskPushNotificationConfig,
        "0a217461736b732f742f707573684e6f74696669636174696f6e436f6e666967732f7012340a01701218\
         68747470733a2f2f6578616d706c652e636f6d2f686f6f6b1a017722120a064265617265720a05426173\
         6963120178",
        r#"{"taskId": "t", "id": "p", "url": "https://example.com/hook", "token": "w",
        "authentication": {"scheme": "Bearer", "credentials": "x"}}"#,
    ),
    (
        Operation::ListTaskPushNotificationConfigs,
        "0a590a217461736b732f742f707573684e6f74696669636174696f6e436f6e666967732f7012340a0170\
         121868747470733a2f2f6578616d706c652e636f6d2f686f6f6b1a017722120a064265617265720a0542\
         6173696312017812017a",
        r#"{"configs": [{"taskId": "t", "id": "p", "url": "https://example.com/hook",
        "token": "w", "authentication": {"scheme": "Bearer", "credentials": "x"}}],
        "nextPageToken": "z"}"#,
    ),
    (
        Operation::GetExtendedAgentCard,
        "0a016e1201641a1468747470733a2f2f6578616d706c652e636f6d2f22180a1368747470733a2f2f6578\
         616d706c652e636f6d12016f2a0131321568747470733a2f2f6578616d706c652e636f6d2f643a360801\
         10011a300a1768747470733a2f2f6578616d706c652e636f6d2f657874120165180122100a0e0a016112\
         0911000000000000f03f421a0a0468747470121212100a016812064265617265721a034a57544a0f0a0d\
         0a046874747012050a0372756e520a746578742f706c61696e5a0a746578742f706c61696e62210a0173\
         12016e1a01642201742a01653201693a016f420a0a080a04687474701200680172074a534f4e5250437a\
         1f0a1468747470733a2f2f6578616d706c652e636f6d2f12074a534f4e5250437a170a0f6578616d706c\
         652e636f6d3a343433120447525043820105302e332e308a01190a03653330120463326c6e1a0c0a0a0a\
         036b696412031a016b92011968747470733a2f2f6578616d706c652e636f6d2f692e706e67",
        r#"{"name": "n", "description": "d",
        "supportedInterfaces": [{"url": "https://example.com/",
        "protocolBinding": "JSONRPC", "protocolVersion": "0.3"}, {"url": "example.com:443",
        "protocolBinding": "GRPC", "protocolVersion": "0.3"}],
        "provider": {"url": "https://example.com", "organization": "o"}, "version": "1",
        "documentationUrl": "https://example.com/d", "capabilities": {"streaming": true,
        "pushNotifications": true, "extensions": [{"uri": "https://example.com/ext",
        "description": "e", "required": true, "params": {"a": 1}}],
        "extendedAgentCard": true},
        "securitySchemes": {"http": {"httpAuthSecurityScheme": {"description": "h",
        "scheme": "Bearer", "bearerFormat": "JWT"}}},
        "securityRequirements": [{"schemes": {"http": {"list": ["run"]}}}],
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "n", "description": "d", "tags": ["t"],
        "examples": ["e"], "inputModes": ["i"], "outputModes": ["o"],
        "securityRequirements": [{"schemes": {"http": {"list": []}}}]}],
        "signatures": [{"protected": "e30", "signature": "c2ln", "header": {"kid": "k"}}],
        "iconUrl": "https://example.com/i.png"}"#,
    ),
];

/// Events of v0.3.
const OLD_EVENTS: &[(&str, &str)] = &[
    (
        "0ab6020a01741201631a1f0806120e0a017320022a070a0577686963681a0b08a0cdfbc80610c0a9d33a\
         223a0a01611a06616e737765722201642a060a04646f6e6532090a070a0178120220003a176874747073\
         3a2f2f6578616d706c652e636f6d2f6578742abb010a016d1201631a017420012a160a02686922100a0e\
         0a016b120911000000000000f03f2a29122712044150383d1a186170706c69636174696f6e2f6f637465\
         742d73747265616d2205612e62696e2a1912170a1568747470733a2f2f6578616d706c652e636f6d2f78\
         2a231a210a1f0a1d0a016e121832160a0911000000000000f03f0a0911000000000000044032120a100a\
         0161120b2a090a070a0162120232003a1768747470733a2f2f6578616d706c652e636f6d2f6578743213\
         0a110a04636f7374120911000000000000d03f",
        r#"{"task": {"id": "t", "contextId": "c",
        "status": {"state": "TASK_STATE_INPUT_REQUIRED", "message": {"messageId": "s",
        "role": "ROLE_AGENT", "parts": [{"text": "which"}]},
        "timestamp": "2025-11-20T10:00:00.123Z"}, "artifacts": [{"artifactId": "a",
        "name": "answer", "description": "d", "parts": [{"text": "done"}],
        "metadata": {"x": false}, "extensions": ["https://example.com/ext"]}],
        "history": [{"messageId": "m", "contextId": "c", "taskId": "t", "role": "ROLE_USER",
        "parts": [{"text": "hi", "metadata": {"k": 1}}, {"raw": "AP8=", "filename": "a.bin",
        "mediaType": "application/octet-stream"}, {"url": "https://example.com/x"},
        {"data": {"n": [1, 2.5]}}], "metadata": {"a": {"b": []}},
        "extensions": ["https://example.com/ext"]}], "metadata": {"cost": 0.25}}}"#,
    ),
    (
        "120b0a016d20012a040a026869",
        r#"{"message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]}}"#,
    ),
    (
        "1a350a01741201631a1f0806120e0a017320022a070a0577686963681a0b08a0cdfbc80610c0a9d33a20\
         012a0a0a080a016b12031a0176",
        r#"{"statusUpdate": {"taskId": "t", "contextId": "c",
        "status": {"state": "TASK_STATE_INPUT_REQUIRED", "message": {"messageId": "s",
        "role": "ROLE_AGENT", "parts": [{"text": "which"}]},
        "timestamp": "2025-11-20T10:00:00.123Z"}, "metadata": {"k": "v"}}}"#,
    ),
    (
        "22520a01741201631a3a0a01611a06616e737765722201642a060a04646f6e6532090a070a0178120220\
         003a1768747470733a2f2f6578616d706c652e636f6d2f65787420012801320a0a080a016b12031a0176",
        r#"{"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": {"artifactId": "a",
        "name": "answer", "description": "d", "parts": [{"text": "done"}],
        "metadata": {"x": false}, "extensions": ["https://example.com/ext"]},
        "append": true, "lastChunk": true, "metadata": {"k": "v"}}}"#,
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// What the JSON of a request means.
fn call(operation: Operation, json: &str) -> Call {
    let params = RawValue::from_string(value(json).to_string()).unwrap();
    let decoded = Dialect::V1_0.decode(operation, Some(&params));
    decoded.unwrap().call
}

/// What the JSON of an answer means.
fn reply(operation: Operation, json: &str) -> Reply {
    fn read<T: serde::de::DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).unwrap()
    }
    match operation {
        Operation::SendMessage => match read(json) {
            StreamResponse::Task(task) => Reply::Task(task),
            other => panic!("not a task: {other:?}"),
        },
        Operation::ListTasks => Reply::Tasks(read::<ListTasksResponse>(json)),
        Operation::GetTaskPushNotificationConfig => {
            Reply::PushConfig(read::<TaskPushNotificationConfig>(json))
        }
        Operation::ListTaskPushNotificationConfigs => {
            Reply::PushConfigs(read::<ListTaskPushNotificationConfigsResponse>(json))
        }
        Operation::GetExtendedAgentCard => Reply::Card(Box::new(read::<AgentCard>(json))),
        other => panic!("no answer of {other:?} here"),
    }
}

#[test]
fn requests_of_v1_0_are_read_and_written_to_the_byte() {
    for (operation, hex, json) in CALLS {
        let decoded = pb::decode(Dialect::V1_0, *operation, &bytes(hex)).unwrap();
        assert_eq!(decoded.call, call(*operation, json));
        assert_eq!(pb::encode_call(Dialect::V1_0, &decoded.call), bytes(hex));
    }
}

#[test]
fn answers_of_v1_0_are_read_and_written_to_the_byte() {
    for (operation, hex, json) in REPLIES {
        let decoded = pb::decode_reply(Dialect::V1_0, *operation, &bytes(hex)).unwrap();
        assert_eq!(decoded, reply(*operation, json));
        let written = pb::encode_reply(Dialect::V1_0, *operation, &decoded);
        assert_eq!(written, bytes(hex), "{operation:?}");
    }
}

#[test]
fn events_of_v1_0_are_read_and_written_to_the_byte() {
    for (hex, json) in EVENTS {
        let decoded = pb::decode_event(Dialect::V1_0, &bytes(hex)).unwrap();
        assert_eq!(decoded, serde_json::from_str(json).unwrap());
        assert_eq!(pb::encode_event(Dialect::V1_0, &decoded), bytes(hex));
    }
}

#[test]
fn requests_of_v0_3_are_read() {
    for (operation, hex, json) in OLD_CALLS {
        let decoded = pb::decode(Dialect::V0_3, *operation, &bytes(hex)).unwrap();
        assert_eq!(decoded.call, call(*operation, json));
        let blocking = *operation == Operation::SendMessage;
        assert_eq!(decoded.blocking, blocking.then_some(true));
    }
}

#[test]
fn answers_of_v0_3_are_read() {
    for (operation, hex, json) in OLD_REPLIES {
        let decoded = pb::decode_reply(Dialect::V0_3, *operation, &bytes(hex)).unwrap();
        assert_eq!(decoded, reply(*operation, json));
    }
}

#[test]
fn events_of_v0_3_are_read_and_written_to_the_byte() {
    for (hex, json) in OLD_EVENTS {
        let decoded = pb::decode_event(Dialect::V0_3, &bytes(hex)).unwrap();
        assert_eq!(decoded, serde_json::from_str(json).unwrap());
        assert_eq!(pb::encode_event(Dialect::V0_3, &decoded), bytes(hex));
    }
}
