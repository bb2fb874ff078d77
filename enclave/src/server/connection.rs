//! One authenticated connection: a reader that dispatches, and a writer that every thread may use.

use std::io::{self, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::thread;

use sealstone_wire::address::Stream;
use sealstone_wire::channel::{self, Channel, ChannelError, ChannelKey, ChannelPublic, Opener, Sealer};
use sealstone_wire::limits::HANDSHAKE_DEADLINE;
use sealstone_wire::reply::{RefusalCode, Reply, ReplyMessage};
use sealstone_wire::request::{Request, RequestMessage};

use super::pool::{Job, Pool, Work};
use super::relay::{ConnectionRelay, Relayed};
use crate::core::{Enclave, describe, lock};
use crate::refuse::{Refuse, refuse};

/// Bytes that the reader takes from the socket at once: many pipelined requests for one system call.
const READ_BUFFER: usize = 64 * 1024;
