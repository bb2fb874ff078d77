//! What an auditor who pinned an authority long ago needs to get from there to the manifest in force.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{Machine, Person, authority, draft, envelope, next, signed, verified};
use sealstone_attestation::{AuthorityDigest, Envelope, ManifestError, VerifiedManifest};

/// Versions 1 to 4: by alice, by alice, handed over to bob, by bob. And their authorities.
fn chain() -> (Vec<VerifiedManifest>, AuthorityDigest, AuthorityDigest) {
    let (alice, bob, machine) = (Person::new(1), Person::new(2), Machine::new("node-1", 1));
    let first = verified(&draft(&alice, &[&machine]), &[&alice]);
    let second = first.succeed(&signed(&next(first.manifest()), &[&alice])).unwrap();
    let mut handing = next(second.manifest());
    handing.outgoing_authority = Some(authority(1, &[&alice]));
    handing.authority = authority(1, &[&bob]);
    let third = second.succeed(&signed(&handing, &[&alice, &bob])).unwrap();
    let mut plain = next(third.manifest());
    plain.outgoing_authority = None;
    let fourth = third.succeed(&signed(&plain, &[&bob])).unwrap();
    let digests = [&alice, &bob].map(|person| authority(1, &[person]).digest());
    (vec![first, second, third, fourth], digests[0], digests[1])
}

fn envelopes(manifests: &[VerifiedManifest]) -> Vec<Envelope> {
    manifests.iter().map(|manifest| Envelope::parse(manifest.envelope()).unwrap()).collect()
}

#[test]
fn an_authority_that_handed_over_still_verifies_through_its_successors() {
    let (manifests, alice, bob) = chain();
    let newest = manifests[3].envelope();
    for from in 0..3 {
        let through = VerifiedManifest::through(newest, &envelopes(&manifests[from..3]), alice);
        assert_eq!(
            through.map(|m| m.digest()),
            if from < 2 { Ok(manifests[3].digest()) } else { through_error(alice, bob) }
        );
    }
    // The present authority needs none of them.
    assert!(VerifiedManifest::through(newest, &[], bob).is_ok());
    assert!(VerifiedManifest::through(newest, &envelopes(&manifests[..3]), bob).is_ok());
    assert!(VerifiedManifest::through(manifests[2].envelope(), &envelopes(&manifests[1..2]), alice).is_ok());
}

fn through_error(
    expected: AuthorityDigest,
    found: AuthorityDigest,
) -> Result<sealstone_attestation::ManifestDigest, ManifestError> {
    Err(ManifestError::ForeignAuthority { expected, found })
}

#[test]
fn a_chain_with_a_gap_a_stranger_or_a_change_leads_nowhere() {
    let (manifests, alice, bob) = chain();
    let newest = manifests[3].envelope();
    let through = |predecessors: &[Envelope]| VerifiedManifest::through(newest, predecessors, alice);
    let all = envelopes(&manifests);
    assert_eq!(through(&[]).map(|m| m.digest()), through_error(alice, bob));
    assert!(
        matches!(through(&all[..2]), Err(ManifestError::MissingVersions { .. })),
        "without the hand-over"
    );
    assert!(through(&[all[1].clone(), all[0].clone(), all[2].clone()]).is_err(), "out of order");
    assert!(matches!(through(&all), Err(ManifestError::MissingVersions { .. })), "the newest twice");
    assert!(through(&[all[1].clone(), all[2].clone(), all[2].clone()]).is_err(), "one of them twice");
    // A hand-over that only its heir signed is none.
    let mut unsigned = all[2].clone();
    unsigned.signatures.remove(0);
    assert!(through(&[all[1].clone(), unsigned]).is_err());
    let mut changed = all[2].clone();
    changed.payload.push(b' ');
    assert!(through(&[all[1].clone(), changed]).is_err());
    // A stranger who calls themselves the heir of another chain.
    let mallory = Person::new(9);
    let mut forged = next(manifests[1].manifest());
    forged.outgoing_authority = Some(manifests[1].manifest().authority().clone());
    forged.authority = authority(1, &[&mallory]);
    let forged = envelope(&serde_json::to_vec(&forged).unwrap(), &[&mallory]);
    let refused = VerifiedManifest::through(&forged.to_json(), &all[..2], alice);
    assert!(refused.is_err(), "{refused:?}");
    let other = AuthorityDigest::of(b"nobody");
    assert!(matches!(
        VerifiedManifest::through(newest, &all[..3], other),
        Err(ManifestError::ForeignAuthority { .. })
    ));
}
