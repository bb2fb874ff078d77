//! What a command asks of the agent: typed answers, and problems turned into failures.

use std::time::Duration;

use hyper::{Method, StatusCode};
use sealstone_attestation::Evidence;
use sealstone_wire::api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::endpoint::Endpoint;
use crate::failure::{Exit, Failure, chain};
use crate::http::{self, Call, HttpError};
use crate::output::shown;

/// Most bytes of an ordinary answer: far above one asset, one status or one signature.
const ANSWER_MAX: usize = 1024 * 1024;

/// Most bytes of a list: some hundred thousand assets.
const LIST_MAX: usize = 256 * 1024 * 1024;

/// Most bytes of a file of the audit log: 256 entries of at most 65,535 bytes, each with its length.
pub(crate) const LOG_FILE_MAX: usize = 256 * (2 + 65_535);

/// For what the agent answers from its store and its enclave.
const DEADLINE: Duration = Duration::from_secs(30);

/// For what the TPM takes part in, keys being made included: a discrete TPM takes tens of seconds for an
/// RSA key, and a ceremony has dozens of commands.
const TPM_DEADLINE: Duration = Duration::from_secs(300);

/// The agent at one place.
#[derive(Debug)]
pub(crate) struct Agent {
    endpoint: Endpoint,
}

/// How long and how large an answer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bounds {
    /// One thing, from the store and the enclave.
    Ordinary,
    /// Many things.
    List,
    /// The TPM takes part.
    Tpm,
    /// Evidence, with its logs.
    Evidence,
    /// A file of the audit log.
    LogFile,
}

impl Agent {
    /// The agent there.
    pub(crate) fn at(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Where it is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `GET`.
    pub(crate) fn get<T: DeserializeOwned>(&self, target: String, bounds: Bounds) -> Result<T, Failure> {
        self.typed(Method::GET, target, None, bounds)
    }

    /// `GET` of a document that is kept as it came.
    pub(crate) fn get_bytes(&self, target: String, bounds: Bounds) -> Result<Vec<u8>, Failure> {
        self.raw(Method::GET, target, None, bounds)
    }

    /// `POST` of one of our own types.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        target: String,
        body: &impl Serialize,
        bounds: Bounds,
    ) -> Result<T, Failure> {
        let body =
            serde_json::to_vec(body).expect("our own types have string keys and no failing serializer");
        self.typed(Method::POST, target, Some(body), bounds)
    }

    /// `POST` of bytes (or of nothing), answered by bytes.
    pub(crate) fn post_bytes(
        &self,
        target: String,
        body: Option<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<Vec<u8>, Failure> {
        self.raw(Method::POST, target, body, bounds)
    }

    fn typed<T: DeserializeOwned>(
        &self,
        method: Method,
        target: String,
        body: Option<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<T, Failure> {
        let answer = self.raw(method, target, body, bounds)?;
        decoded(&answer)
    }

    fn raw(
        &self,
        method: Method,
        target: String,
        body: Option<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<Vec<u8>, Failure> {
        let (answer_max, deadline) = match bounds {
            Bounds::Ordinary => (ANSWER_MAX, DEADLINE),
            Bounds::List => (LIST_MAX, DEADLINE),
            Bounds::Tpm => (ANSWER_MAX, TPM_DEADLINE),
            Bounds::LogFile => (LOG_FILE_MAX, DEADLINE),
            Bounds::Evidence => (Evidence::BYTES_MAX, TPM_DEADLINE),
        };
        let reply = http::call(&self.endpoint, Call { method, target, body, answer_max, deadline })
            .map_err(|error| self.unreachable(&error))?;
        if reply.status.is_success() { Ok(reply.body) } else { Err(failed(reply.status, &reply.body)) }
    }

    fn unreachable(&self, error: &HttpError) -> Failure {
        let detail =
            format!("expected an answer from the agent at {}, found: {}", self.endpoint, chain(error));
        match error {
            HttpError::Connect(_) | HttpError::Handshake(_) | HttpError::Protocol(_)
                if matches!(self.endpoint, Endpoint::Tls(_)) =>
            {
                Failure::unusable(
                    "AGENT_UNREACHABLE",
                    detail,
                    "check --url, that [api.tls] of agent.toml trusts our certificate and does not have it revoked, \
                     and that --tls-ca is the authority of the agent's",
                )
            }
            HttpError::Connect(_) => Failure::unusable(
                "AGENT_UNREACHABLE",
                detail,
                "start sealstone-agent, or say where its socket is with --socket or SEALSTONE_SOCKET; its \
                 configuration lists the clients that may connect",
            ),
            HttpError::Deadline { .. } => Failure::unusable(
                "AGENT_SLOW",
                detail,
                "run `sealstone doctor`; the same request again has the same answer, so it is safe to repeat",
            ),
            _ => Failure::unusable(
                "AGENT_ANSWER",
                detail,
                "check that the agent listens there, and its release",
            ),
        }
    }
}

/// An answer as one of our own types.
pub(crate) fn decoded<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| {
        Failure::unusable(
            "AGENT_ANSWER",
            format!("expected an answer of this release, found: {error}"),
            "use the command line and the agent of the same release",
        )
    })
}

fn failed(status: StatusCode, body: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return Failure::unusable(
            "AGENT_ANSWER",
            format!("expected an answer or a problem document, found HTTP status {status}"),
            "check that the agent listens there, and its release",
        );
    };
    let Problem { kind: _, title, status: _, detail, code, request_id, reasons } = problem;
    let code = shown(&code);
    let detail = shown(if detail.is_empty() { &title } else { &detail });
    let action = action_for(&code)
        .map_or_else(|| format!("look for request {} in the agent's log", shown(&request_id)), str::to_owned);
    // Reasons come with a policy's refusals alone.
    let exit = if reasons.is_empty() { exit_for(status, &code) } else { Exit::Refused };
    match exit {
        Exit::Refused => Failure::refused(code, detail, action),
        Exit::Done | Exit::Unusable => Failure::unusable(code, detail, action),
    }
}

/// A policy or a check that said no ends with 1; what the caller or the machine must mend, with 2.
fn exit_for(status: StatusCode, code: &str) -> Exit {
    match code {
        "ATTESTATION_FAILED"
        | "PCRS_CHANGED"
        | "NO_SESSION"
        | "STORE_ROLLED_BACK"
        | "STORE_FOREIGN"
        | "LOCKED_BY_OPERATOR"
        | "NONCE_ALREADY_USED"
        | "KEY_MISMATCH"
        | "BINDING_REFUSED"
        | "NOT_PERMITTED"
        | "SESSION_KEY_EXPIRED"
        | "MANIFEST_REFUSED"
        | "MANIFEST_ROLLBACK"
        | "MANIFEST_CONFLICT"
        | "FOREIGN_AUTHORITY"
        | "OTHER_DEPLOYMENT"
        | "NOT_ENROLLED"
        | "ALREADY_PROVISIONED"
        | "SEAL_ROLLBACK"
        | "SEAL_STATE_MISMATCH"
        | "TPM_NOT_AUTHENTIC"
        | "TPM_NOT_ENROLLED" => Exit::Refused,
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::CONFLICT) => {
            Exit::Refused
        }
        _ => Exit::Unusable,
    }
}

/// What to do about the codes that have one answer; the detail says what was expected and found.
fn action_for(code: &str) -> Option<&'static str> {
    Some(match code {
        "ATTESTATION_FAILED" | "PCRS_CHANGED" | "NO_SESSION" | "SEAL_STATE_MISMATCH" => {
            "run `sealstone status`; if the machine's state was meant to change, propose, sign and apply a manifest \
             with it (`sealstone manifest propose --from … --state …`)"
        }
        "NONCE_ALREADY_USED" => {
            "use the next nonce; this one has signed, or may have signed, another payload"
        }
        "STORE_ROLLED_BACK" => "do not sign from this store: restore the newest copy of it",
        "OVERLOADED" | "BUSY" | "STARTING" => "try again in a moment",
        "OUTCOME_UNKNOWN" | "TIMEOUT" => {
            "repeat the very same request: it has the same answer, and its nonce is never spent twice"
        }
        "ASSET_UNKNOWN" => "see `sealstone asset list`, or create it with `sealstone asset create`",
        "FORBIDDEN" => {
            "have your user or certificate, with the role that is missing, listed in [[access.client]] of agent.toml"
        }
        "ENCLAVE_UNREACHABLE" => "start sealstone-enclave, and run `sealstone doctor`",
        "LOCKED_BY_OPERATOR" => "start the agent again when it may unlock the enclave",
        "STORE_FOREIGN" => "give this node its own store: [store] path in agent.toml",
        "ASSET_RETIRED" => "use another asset: a retired one signs nothing new, for good",
        "NONCE_VOIDED" => "use another nonce: an operator gave this one up",
        "RESERVATION_OPEN" => {
            "have the request sent again, or void its reservation (`sealstone reservation void`), then try again"
        }
        "RESERVATION_CLOSED" | "RESERVATION_UNKNOWN" => "see `sealstone reservation list`",
        "RULES_REFUSED" => "correct that file, see `sealstone policy check`; the rules in force stay",
        "ROTATION_CONFLICT" => "see which epoch the asset has: `sealstone key --tenant … --asset …`",
        "STORE_FULL" => "make room on the store's disk",
        "UNPROVISIONED" => "apply a signed manifest: `sealstone manifest apply F --provision NODE`",
        "LOCKED" => {
            "run `sealstone status`; the agent unlocks the enclave when the TPM and the state allow it"
        }
        "NOT_PERMITTED" => {
            "have a manifest signed that permits it, or use a key, algorithm and payload that it permits"
        }
        "BINDING_REFUSED" => {
            "have a manifest signed that lists the succession from the asset's state to the current one, or rotate \
             the asset"
        }
        "MANIFEST_ROLLBACK" | "MANIFEST_CONFLICT" => {
            "propose the next version from the manifest in force, which the agent serves at GET /v1/manifest"
        }
        "FOREIGN_AUTHORITY" | "MANIFEST_REFUSED" => "check the envelope with `sealstone manifest verify`",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str) -> Failure {
        let body = serde_json::json!({
            "type": "urn:sealstone:problem:x", "title": "t", "status": status,
            "detail": "expected a, found b", "code": code, "request_id": "r-1",
        });
        failed(StatusCode::from_u16(status).unwrap(), body.to_string().as_bytes())
    }

    #[test]
    fn a_check_that_said_no_ends_with_1_and_the_rest_with_2() {
        for (status, code) in [
            (503, "ATTESTATION_FAILED"),
            (503, "NO_SESSION"),
            (503, "STORE_ROLLED_BACK"),
            (409, "NONCE_ALREADY_USED"),
            (403, "PEER_REFUSED"),
            (403, "NOT_PERMITTED"),
        ] {
            assert_eq!(problem(status, code).exit(), Exit::Refused, "{code}");
        }
        for (status, code) in [
            (400, "MALFORMED"),
            (404, "ASSET_UNKNOWN"),
            (503, "OVERLOADED"),
            (500, "INTERNAL"),
            (504, "TIMEOUT"),
        ] {
            assert_eq!(problem(status, code).exit(), Exit::Unusable, "{code}");
        }
    }

    #[test]
    fn a_problem_without_a_known_answer_names_the_request() {
        let failure = problem(500, "INTERNAL");
        assert_eq!(failure.code(), "INTERNAL");
        assert!(failure.text().contains("expected a, found b"));
        assert!(failure.text().contains("request r-1"));
    }

    #[test]
    fn an_error_that_is_no_problem_document_is_named_by_its_status() {
        for body in [b"".as_slice(), b"<html>", b"{\"code\":\"X\"}"] {
            let failure = failed(StatusCode::BAD_GATEWAY, body);
            assert_eq!(failure.code(), "AGENT_ANSWER");
            assert!(failure.text().contains("502"));
        }
    }

    #[test]
    fn the_agent_cannot_write_to_the_terminal_as_it_likes() {
        let body = serde_json::json!({
            "type": "", "title": "", "status": 400, "detail": "a\u{1b}[2J\nb", "code": "X\n", "request_id": "",
        });
        let text = failed(StatusCode::BAD_REQUEST, body.to_string().as_bytes()).text();
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text}");
    }
}
