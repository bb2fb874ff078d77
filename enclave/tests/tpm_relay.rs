//! Stories of a ceremony with a real TPM behind an honest relay.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use sealstone_attestation::PcrBank;
use sealstone_enclave::tpm::{AuthValue, Ceremony, PcrState, SealPolicy};
use support::keys::EkKind;
use support::relay::TapRelay;
use support::swtpm::Swtpm;

const COUNTER: u32 = 0x0185_ea15;

#[test]
fn quick() {
    let tpm = Swtpm::start();
    for kind in [EkKind::P256, EkKind::Rsa2048, EkKind::P384] {
        let ek = tpm.ek(kind);
        let mut relay = TapRelay::honest(&tpm);
        let auth = AuthValue::new(&[3; 32]);
        let t = Instant::now();
        let mut ceremony = Ceremony::open(&mut relay, &ek, None).unwrap();
        println!("open {:?}", t.elapsed());
        let counter_auth = AuthValue::new(&[4; 32]);
        let counter_value = match ceremony.read_counter(COUNTER, &counter_auth) {
            Ok(v) => v,
            Err(e) => {
                println!("{e}");
                ceremony.define_counter(COUNTER, &counter_auth).unwrap()
            }
        };
        let policy = SealPolicy {
            states: vec![PcrState { bank: PcrBank::Sha256, pcrs: tpm.pcrs(PcrBank::Sha256, &[0, 7]) }],
            counter_index: COUNTER,
            counter_value,
        };
        let blob = ceremony.seal(&policy, &auth, b"secret").unwrap();
        println!("sealed {:?}", t.elapsed());
        let opened = ceremony.unseal(&blob, &policy, &auth, &counter_auth).unwrap();
        assert_eq!(opened[..], *b"secret");
        println!("unsealed {:?}", t.elapsed());
        drop(ceremony);
        println!("{} commands {:?}", relay.seen.len(), t.elapsed());
    }
}
