//! The OpenAPI 3.1 document of the API: made from the table of routes, the types of bodies and answers, and the codes
//! of problems. `docs/openapi.json` is a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use sealstone_policy::engine::ReasonCode;
use sealstone_wire::api::{PROBLEM_JSON, Problem};
use sealstone_wire::reply::RefusalCode;
use serde_json::{Map, Value, json};

use super::routes::{Needs, Route, routes};
use crate::failure::Code;
use crate::signing::IDEMPOTENCY_KEY_MAX;

/// What the document says of a route beside its path, method and roles.
pub(super) struct Doc {
    /// Names the operation in generated clients.
    pub(super) id: &'static str,
    /// One line.
    pub(super) summary: &'static str,
    /// The query, an object whose fields are the parameters.
    pub(super) query: Option<SchemaOf>,
    /// Whether the header `idempotency-key` is taken.
    pub(super) idempotency_key: bool,
    /// The body.
    pub(super) body: Option<SchemaOf>,
    /// What a success answers.
    pub(super) answer: Answer,
    /// Statuses of problems beyond those that every route may answer.
    pub(super) problems: &'static [u16],
    /// What becomes of the same request again; empty for routes that change nothing.
    pub(super) repeat: &'static str,
}

/// Makes a schema.
pub(super) type SchemaOf = fn(&mut Schemas) -> Value;

/// What a success answers.
pub(super) enum Answer {
    /// JSON of this schema.
    Json(SchemaOf),
    /// JSON of this schema that has a media type of its own.
    Typed(&'static str, SchemaOf),
    /// Text, or bytes, of this media type.
    Text(&'static str),
}

/// What follows `tile/` in the name of a file of c2sp.org/tlog-tiles.
const TILE_PATTERN: &str = r"^([0-7]|entries)/(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[1-9][0-9]{0,2})?$";

/// Statuses of problems that every route may answer: not well formed, not allowed, not this method, too often, a fault,
/// not ready, too late.
const COMMON: [u16; 8] = [400, 403, 405, 429, 500, 501, 503, 504];

/// Why a node may be not attested, beyond what the enclave refuses with.
const NOT_ATTESTED: [&str; 9] = [
    "ENCLAVE_UNREACHABLE",
    "OUTCOME_UNKNOWN",
    "ENCLAVE_FAULT",
    "TPM_FAILED",
    "MANIFEST_MISSING",
    "MANIFEST_CHANGED",
    "LOCKED_BY_OPERATOR",
    "FILE_FAILED",
    "PCRS_CHANGED",
];

/// The document, as it is served.
static DOCUMENT: LazyLock<String> = LazyLock::new(text);

/// Answers with the document.
pub(super) async fn serve() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// The document as text, as it stands in `docs/openapi.json`.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", document())
}

/// Schemas, kept under their names as they are used.
pub(super) struct Schemas {
    bodies: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            bodies: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
        }
    }

    /// Of what is read.
    pub(super) fn body<T: JsonSchema>(&mut self) -> Value {
        self.bodies.subschema_for::<T>().to_value()
    }

    /// Of what is written.
    pub(super) fn answer<T: JsonSchema>(&mut self) -> Value {
        self.answers.subschema_for::<T>().to_value()
    }

    /// Of a DSSE envelope.
    pub(super) fn envelope(&mut self) -> Value {
        json!({
            "type": "object",
            "description": "A DSSE envelope whose payload is a manifest",
            "required": ["payloadType", "payload", "signatures"],
            "additionalProperties": false,
            "properties": {
                "payloadType": {"type": "string"},
                "payload": {"type": "string", "contentEncoding": "base64"},
                "signatures": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["keyid", "sig"],
                        "additionalProperties": false,
                        "properties": {
                            "keyid": {"type": "string"},
                            "sig": {"type": "string", "contentEncoding": "base64"},
                        },
                    },
                },
            },
        })
    }

    /// Of evidence; what is in it is for `sealstone verify`.
    pub(super) fn evidence(&mut self) -> Value {
        json!({
            "type": "object",
            "description": "Self-contained evidence, to be verified offline",
            "required": ["format", "purpose", "nonce", "quote", "ak", "ek", "manifest", "report"],
        })
    }

    /// Of an OpenAPI document.
    pub(super) fn document(&mut self) -> Value {
        json!({"type": "object", "required": ["openapi", "info", "paths"]})
    }

    /// The query's fields as parameters.
    fn parameters(&mut self, query: SchemaOf) -> Vec<Value> {
        let schema = self.resolved(query);
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| {
                json!({"name": name, "in": "query", "required": required.contains(name.as_str()), "schema": in_text(schema)})
            })
            .collect()
    }

    /// A schema itself in place of its name.
    fn resolved(&mut self, schema: SchemaOf) -> Value {
        let schema = schema(self);
        let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next().map(str::to_owned));
        name.and_then(|name| self.bodies.definitions().get(&name).cloned()).unwrap_or(schema)
    }

    /// Every schema that was used.
    fn used(mut self) -> Map<String, Value> {
        let mut used = self.bodies.take_definitions(true);
        used.extend(self.answers.take_definitions(true));
        // Those of queries stand where the parameters are.
        used.retain(|name, _| !name.ends_with("Query") && name != "AtEpoch");
        used
    }
}

/// A path as the document writes it: what takes several segments is marked only for axum.
fn described(path: &str) -> String {
    path.replace("{*", "{")
}

/// A parameter is absent or it is a value: `null` cannot be written in a query.
fn in_text(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let is_value = |one: &&Value| one["type"] != "null";
    if let Some(value) = schema["anyOf"].as_array().and_then(|either| either.iter().find(is_value)) {
        return value.clone();
    }
    let kind = schema["type"].as_array().and_then(|kinds| kinds.first().cloned());
    if let Some(kind) = kind {
        schema["type"] = kind;
    }
    schema
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    let problem = schemas.answer::<Problem>();
    let codes = codes(&mut schemas);
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes() {
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(described(route.path)).or_default().insert(method, operation(&route, &mut schemas));
    }
    let responses: Map<String, Value> = codes
        .iter()
        .map(|(status, codes)| (format!("Problem{status}"), response(*status, codes, &problem)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sealstone agent",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Signs transactions with keys that exist for one use, on machines that prove their state. \
                            docs/api.md says what the types cannot. A client is known by the user id of its \
                            process on the Unix socket, or by its certificate on the TLS listener; the names under \
                            `security` are the roles that [[access.client]] must give it, any one of them.",
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.used(),
            "responses": responses,
            "parameters": {"RequestId": {
                "name": "x-request-id",
                "in": "header",
                "description": "Names the request in answers and in the agent's log, if it is 1 to 64 of A-Z a-z 0-9 . _ -; \
                                else one is made",
                "schema": {"type": "string"},
            }},
            "headers": {
                "RequestId": {"description": "The request's name", "required": true, "schema": {"type": "string"}},
                "RetryAfter": {
                    "description": "Seconds after which the same request may succeed, where that is known",
                    "schema": {"type": "integer", "minimum": 1},
                },
            },
            "securitySchemes": {"mutualTLS": {"type": "mutualTLS"}},
        },
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let Doc { id, summary, query, idempotency_key, body, answer, problems, repeat } = &route.doc;
    let mut parameters = vec![json!({"$ref": "#/components/parameters/RequestId"})];
    let path = described(route.path);
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    parameters.extend(names.map(|name| {
        let schema = match name {
            "id" => json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
            // It goes over several segments of the path, which this language cannot say.
            "tile" => json!({"type": "string", "pattern": TILE_PATTERN, "examples": ["0/000.p/1", "entries/x001/234"]}),
            _ => schemas.body::<sealstone_wire::PathText>(),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    }));
    if let Some(query) = query {
        parameters.extend(schemas.parameters(*query));
    }
    if *idempotency_key {
        parameters.push(json!({
            "name": "idempotency-key",
            "in": "header",
            "description": "The client's own name for the request",
            "schema": {"type": "string", "pattern": format!("^[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}$")},
        }));
    }
    let roles: &[crate::access::Role] = match route.needs {
        Needs::AnyClient => &[],
        Needs::OneOf(roles) => roles,
    };
    let mut security: Vec<Value> = roles.iter().map(|role| json!({"mutualTLS": [role.name()]})).collect();
    if security.is_empty() {
        security.push(json!({"mutualTLS": []}));
    }
    let mut operation = json!({
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "responses": responses(answer, problems, schemas),
        "security": security,
    });
    if !repeat.is_empty() {
        operation["description"] = (*repeat).into();
    }
    if let Some(body) = body {
        let schema = body(schemas);
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn responses(answer: &Answer, problems: &[u16], schemas: &mut Schemas) -> Value {
    let (media_type, schema) = match answer {
        Answer::Json(schema) => ("application/json", schema(schemas)),
        Answer::Typed(media_type, schema) => (*media_type, schema(schemas)),
        Answer::Text(media_type) => (*media_type, json!({"type": "string"})),
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({
            "description": "Done",
            "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}},
            "content": {media_type: {"schema": schema}},
        }),
    );
    for status in COMMON.iter().chain(problems) {
        responses
            .insert(status.to_string(), json!({"$ref": format!("#/components/responses/Problem{status}")}));
    }
    responses.into()
}

fn response(status: u16, codes: &BTreeSet<&str>, problem: &Value) -> Value {
    json!({
        "description": format!("A problem: {}", codes.iter().copied().collect::<Vec<_>>().join(", ")),
        "headers": {
            "x-request-id": {"$ref": "#/components/headers/RequestId"},
            "retry-after": {"$ref": "#/components/headers/RetryAfter"},
        },
        "content": {PROBLEM_JSON: {"schema": {
            "allOf": [problem],
            "properties": {"status": {"const": status}, "code": {"enum": codes}},
        }}},
    })
}

/// Every code of a problem, by its status.
fn codes(schemas: &mut Schemas) -> BTreeMap<u16, BTreeSet<&'static str>> {
    let refusals = refusals(schemas);
    let rules = ReasonCode::ALL.iter().copied().map(Code::Policy);
    let own = Code::OWN.into_iter().chain(NOT_ATTESTED.map(Code::NotAttested)).chain(rules);
    let mut codes: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for code in own.chain(refusals.iter().map(|code| Code::Enclave(*code))) {
        codes.entry(code.status()).or_default().insert(code.name());
    }
    // Whatever the enclave refuses a session with is a reason why the node is not attested.
    let not_attested = codes.entry(Code::NotAttested("").status()).or_default();
    not_attested.extend(refusals.iter().map(|code| code.name()));
    codes
}

/// Every code that the enclave refuses with, from its own type.
fn refusals(schemas: &mut Schemas) -> Vec<RefusalCode> {
    let schema = RefusalCode::json_schema(&mut schemas.answers).to_value();
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten().map(|one| &one["const"]);
    listed.chain(described).filter_map(|name| serde_json::from_value(name.clone()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_in_docs_is_this_document() {
        let copy = include_str!("../../../docs/openapi.json");
        let copy: Value = serde_json::from_str(copy).unwrap();
        assert!(
            copy == document(),
            "docs/openapi.json is not what the code says; run: cargo run -p sealstone-agent -- --openapi > docs/openapi.json"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut open = vec![&document];
        let mut references = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        references += 1;
                        let path = reference.strip_prefix('#').expect("within the document");
                        assert!(document.pointer(path).is_some(), "{reference}");
                    }
                    open.extend(fields.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(references > 100, "{references}");
    }

    #[test]
    fn every_route_is_described_and_names_its_roles() {
        let document = document();
        let mut ids = BTreeSet::new();
        for Route { method, path, needs, .. } in routes() {
            let operation = &document["paths"][described(path)][method.as_str().to_ascii_lowercase()];
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{path}: a name of its own"
            );
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
            assert!(
                method == "GET" || !operation["description"].as_str().unwrap().is_empty(),
                "{path}: repeatable?"
            );
            let security = operation["security"].as_array().unwrap();
            match needs {
                Needs::AnyClient => assert_eq!(security, &[json!({"mutualTLS": []})], "{path}"),
                Needs::OneOf(roles) => assert_eq!(security.len(), roles.len(), "{path}"),
            }
            for status in ["200", "400", "403", "429", "503"] {
                assert!(operation["responses"].get(status).is_some(), "{path}: {status}");
            }
        }
    }

    #[test]
    fn every_code_is_in_the_documentation() {
        let documentation =
            concat!(include_str!("../../../docs/api.md"), include_str!("../../../docs/policy.md"));
        for (status, codes) in codes(&mut Schemas::new()) {
            for code in codes {
                assert!(documentation.contains(&format!("`{code}`")), "{status} {code}");
            }
        }
    }
}
