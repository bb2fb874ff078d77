//! The bounds of the channel between agent and enclave, each with its reason.

use std::time::Duration;

/// Version of the messages; part of the handshake's prologue, so that two versions never half-understand
/// each other: the handshake itself fails.
pub const PROTOCOL_VERSION: u16 = 1;

/// Bytes of one Noise message (Noise revision 34, section 3).
pub const NOISE_MESSAGE_MAX: usize = 65_535;

/// Bytes of plaintext in one frame: a Noise message less its 16-byte tag.
pub const PLAINTEXT_MAX: usize = NOISE_MESSAGE_MAX - 16;

/// Bytes of a message to be signed. Leaves room in one frame for the paths and the request around it.
pub const MESSAGE_MAX: usize = 60 * 1024;

/// Bytes of a manifest envelope; more than 256 nodes and 64 states need.
pub const MANIFEST_MAX: usize = 1024 * 1024;

/// Bytes of manifest carried by one request, so that a chunk always fits a frame.
pub const MANIFEST_CHUNK_MAX: usize = 32 * 1024;

/// Bytes of a TPM command or response that is relayed: the TPM's own limit on common parts (TCG PC Client
/// Platform TPM Profile, `MAX_COMMAND_SIZE` = 4096).
pub const TPM_FRAME_MAX: usize = 4096;

/// TPM commands in one ceremony (provision, unlock, re-seal). The longest needs about 40; a peer that keeps
/// a ceremony alive beyond this is not an agent.
pub const TPM_COMMANDS_MAX: usize = 256;

/// How long the enclave waits for the agent to relay one TPM command. RSA key generation on a slow discrete
/// TPM takes tens of seconds; everything else takes less than one.
pub const RELAY_DEADLINE: Duration = Duration::from_secs(60);

/// How long a whole ceremony may take: one slow key generation and some forty quick steps. Until it is over the root
/// cannot be locked away.
pub const CEREMONY_DEADLINE: Duration = Duration::from_secs(180);

/// How long a peer may take for the Noise handshake. Two small frames on a local socket.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a started frame may take to arrive or to be written in whole.
pub const FRAME_DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection may say nothing before the enclave closes it. The agent sends a status request
/// more often than that.
pub const IDLE_DEADLINE: Duration = Duration::from_secs(120);

/// Connections that may be in their handshake at once; one more closes the oldest.
pub const HANDSHAKES_MAX: usize = 16;

/// Static keys of one side of the channel that hold at once: the one in use, and the next while it is replaced. The
/// enclave tries each of its own with each of the agent's, so this bounds what an unauthenticated peer costs: that
/// many handshakes squared, of two X25519 agreements each, over one buffer.
pub const CHANNEL_KEYS_MAX: usize = 2;

/// Authenticated connections at once: one agent, its successor while it reconnects, and a measuring tool.
pub const CONNECTIONS_MAX: usize = 4;

/// Requests that wait for a signing thread; excess is answered `overloaded`, so this bounds latency: at
/// about 0.5 ms each on two threads the last one waits some 65 ms.
pub const QUEUE_MAX: usize = 256;

/// Receipts that the enclave keeps so that an agent which lost its answer can fetch it: more than can be in
/// flight at once ([`QUEUE_MAX`] plus the signing threads), with room for several crashes.
pub const RECEIPTS_KEPT: usize = 2048;

/// Receipts in one reply; the largest number that surely fits a frame.
pub const RECEIPTS_PER_REPLY: usize = 128;

/// Receipts of an era that no signed checkpoint of the audit log covers yet; at that number signing is refused, because
/// what is not logged must not be signed. Room for signing to go on while the log is shown, in some two megabytes.
pub const AUDIT_UNCOVERED_MAX: usize = 16_384;

/// Bytes of leaves in one request, with their lengths: three of the longest at least, and a frame has room for what is
/// around them.
pub const AUDIT_LEAVES_MAX: usize = 60 * 1024;

/// How long a challenge may be answered, and for one use only.
pub const CHALLENGE_TTL: Duration = Duration::from_secs(30);

/// How old a session-key request may be by the enclave's own clock.
pub const SESSION_REQUEST_TTL: Duration = Duration::from_secs(5);

/// Recipients of recovery shares; matches the bound on authority keys.
pub const SHARES_MAX: usize = 32;
