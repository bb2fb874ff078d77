//! Who may approve a manifest, and which manifest may follow which.
#![allow(clippy::unwrap_used)]

mod fake;

use fake::{ISSUED_AT, Machine, Person, authority, draft, envelope, next, signed, verified};
use sealstone_attestation::{
    DeploymentId, EnvelopeError, Manifest, ManifestDraft, ManifestError, Report, SignaturesError, UnixTime,
    VerifiedManifest,
};

struct Team {
    alice: Person,
    bob: Person,
    carol: Person,
    mallory: Person,
}

fn team() -> Team {
    Team { alice: Person::new(1), bob: Person::new(2), carol: Person::new(3), mallory: Person::new(66) }
}

/// Version 1 under two of Alice, Bob and Carol.
fn first_draft(team: &Team) -> ManifestDraft {
    let mut draft = draft(&team.alice, &[&Machine::new("node-1", 1)]);
    draft.authority = authority(2, &[&team.alice, &team.bob, &team.carol]);
    draft
}

fn current(team: &Team) -> VerifiedManifest {
    verified(&first_draft(team), &[&team.alice, &team.bob])
}

#[test]
fn a_first_manifest_needs_the_pinned_authority_and_its_threshold() {
    let team = team();
    let draft = first_draft(&team);
    let pinned = draft.authority.digest();
    let first = |people: &[&Person]| VerifiedManifest::first(&signed(&draft, people), pinned);
    assert!(first(&[&team.alice, &team.bob]).is_ok());
    assert!(first(&[&team.carol, &team.bob, &team.alice]).is_ok());
    let too_few = |found| Err(ManifestError::Signatures(SignaturesError::TooFew { expected: 2, found }));
    assert_eq!(first(&[]), too_few(0));
    assert_eq!(first(&[&team.alice]), too_few(1));
    assert!(matches!(
        first(&[&team.alice, &team.alice]),
        Err(ManifestError::Signatures(SignaturesError::Repeated { .. }))
    ));
    assert!(matches!(
        first(&[&team.alice, &team.bob, &team.mallory]),
        Err(ManifestError::Signatures(SignaturesError::Foreign { .. }))
    ));
}

#[test]
fn a_manifest_of_a_foreign_authority_is_refused_however_well_it_is_signed() {
    let team = team();
    let pinned = first_draft(&team).authority.digest();
    let mut foreign = first_draft(&team);
    foreign.authority = authority(1, &[&team.mallory]);
    let error = VerifiedManifest::first(&signed(&foreign, &[&team.mallory]), pinned).unwrap_err();
    assert_eq!(
        error,
        ManifestError::ForeignAuthority { expected: pinned, found: foreign.authority.digest() }
    );
    // The same keys with a lower threshold are another authority.
    let mut easier = first_draft(&team);
    easier.authority = authority(1, &[&team.alice, &team.bob, &team.carol]);
    let error = VerifiedManifest::first(&signed(&easier, &[&team.alice]), pinned).unwrap_err();
    assert!(matches!(error, ManifestError::ForeignAuthority { .. }));
    // To itself it is consistent, which is all that trusting it as given asks.
    assert!(VerifiedManifest::danger_trust_as_given(&signed(&foreign, &[&team.mallory])).is_ok());
    assert!(VerifiedManifest::danger_trust_as_given(&signed(&foreign, &[])).is_err());
}

#[test]
fn a_signature_of_something_else_approves_nothing() {
    let team = team();
    let pinned = first_draft(&team).authority.digest();
    let payload = serde_json::to_vec(&first_draft(&team)).unwrap();
    let people = [&team.alice, &team.bob];
    let good = envelope(&payload, &people);
    let first =
        |envelope: &sealstone_attestation::Envelope| VerifiedManifest::first(&envelope.to_json(), pinned);
    assert!(first(&good).is_ok());

    let mut changed = good.clone();
    changed.payload =
        String::from_utf8(payload).unwrap().replace("_ttl_s\":300", "_ttl_s\":301").into_bytes();
    assert!(matches!(first(&changed), Err(ManifestError::Signatures(SignaturesError::Invalid { .. }))));

    let mut report = good.clone();
    report.payload_type = Report::PAYLOAD_TYPE.to_owned();
    assert!(matches!(first(&report), Err(ManifestError::Envelope(EnvelopeError::Type { .. }))));

    let mut moved = good.clone();
    moved.signatures[1].sig = moved.signatures[0].sig.clone();
    assert!(matches!(first(&moved), Err(ManifestError::Signatures(SignaturesError::Invalid { .. }))));

    let mut truncated = good.to_json();
    truncated.pop();
    assert!(matches!(
        VerifiedManifest::first(&truncated, pinned),
        Err(ManifestError::Envelope(EnvelopeError::Malformed(_)))
    ));
}

#[test]
fn the_next_version_follows() {
    let team = team();
    let current = current(&team);
    let envelope = signed(&next(current.manifest()), &[&team.bob, &team.carol]);
    let second = current.succeed(&envelope).unwrap();
    assert_eq!(second.manifest().version(), 2);
    assert_eq!(second.manifest().previous(), Some(current.digest()));
    assert_eq!(second.envelope(), envelope);
    // The same again changes nothing.
    assert_eq!(second.succeed(second.envelope()).unwrap(), second);
    assert_eq!(current.succeed(current.envelope()).unwrap(), current);
}

#[test]
fn a_manifest_that_does_not_follow_is_refused_with_its_own_reason() {
    let team = team();
    let current = current(&team);
    let people = [&team.alice, &team.bob];
    let second = current.succeed(&signed(&next(current.manifest()), &people)).unwrap();
    let refused = |change: &dyn Fn(&mut ManifestDraft)| {
        let mut draft = next(second.manifest());
        change(&mut draft);
        second.succeed(&signed(&draft, &people)).unwrap_err()
    };

    let other = refused(&|draft| draft.deployment = DeploymentId::from_bytes([1; 16]));
    assert!(matches!(other, ManifestError::OtherDeployment { .. }));
    let older = second.succeed(current.envelope()).unwrap_err();
    assert_eq!(older, ManifestError::OlderVersion { current: 2, found: 1 });
    let conflict = refused(&|draft| {
        draft.version = 2;
        draft.previous = Some(current.digest());
        draft.session_ttl_s = 301;
    });
    assert!(matches!(conflict, ManifestError::SameVersionOtherDigest { version: 2, .. }));
    let gap = refused(&|draft| draft.version = 4);
    assert_eq!(gap, ManifestError::MissingVersions { expected: 3, found: 4 });
    assert!(matches!(refused(&|draft| draft.version = u64::MAX), ManifestError::MissingVersions { .. }));
    let fork = refused(&|draft| draft.previous = Some(current.digest()));
    assert!(matches!(fork, ManifestError::OtherPrevious { .. }));
    let earlier = refused(&|draft| draft.issued_at = UnixTime::from_secs(ISSUED_AT - 1));
    assert!(matches!(earlier, ManifestError::IssuedEarlier { .. }));
    assert!(matches!(refused(&|draft| draft.nodes.clear()), ManifestError::Count { .. }));
}

#[test]
fn a_successor_needs_the_current_authority() {
    let team = team();
    let current = current(&team);
    let draft = next(current.manifest());
    let succeed = |people: &[&Person]| current.succeed(&signed(&draft, people)).unwrap_err();
    assert_eq!(
        succeed(&[&team.alice]),
        ManifestError::Signatures(SignaturesError::TooFew { expected: 2, found: 1 })
    );
    let foreign = succeed(&[&team.alice, &team.bob, &team.mallory]);
    assert!(matches!(foreign, ManifestError::Signatures(SignaturesError::Foreign { .. })));
}

#[test]
fn a_new_authority_takes_over_only_when_both_sets_sign() {
    let team = team();
    let current = current(&team);
    let mut draft = next(current.manifest());
    draft.authority = authority(2, &[&team.carol, &team.mallory]);
    let unnamed = current.succeed(&signed(&draft, &[&team.carol, &team.mallory]));
    assert!(matches!(unnamed, Err(ManifestError::OtherOutgoing { found: None, .. })));
    draft.outgoing_authority = Some(current.manifest().authority().clone());
    let succeed = |people: &[&Person]| current.succeed(&signed(&draft, people));
    let handed_over = succeed(&[&team.alice, &team.carol, &team.mallory]).unwrap();
    assert_eq!(handed_over.manifest().authority().digest(), draft.authority.digest());

    // Carol counts in both sets; neither is enough without the other.
    assert_eq!(
        succeed(&[&team.alice, &team.bob]),
        Err(ManifestError::Signatures(SignaturesError::TooFew { expected: 2, found: 0 }))
    );
    assert_eq!(
        succeed(&[&team.carol, &team.mallory]),
        Err(ManifestError::OutgoingAuthority(SignaturesError::TooFew { expected: 2, found: 1 }))
    );
    // A set that never approved anything here cannot hand over.
    let mut usurped = draft.clone();
    usurped.outgoing_authority = Some(authority(1, &[&team.mallory]));
    let usurped = current.succeed(&signed(&usurped, &[&team.carol, &team.mallory]));
    assert!(matches!(usurped, Err(ManifestError::OtherOutgoing { found: Some(_), .. })));
    let stranger = Person::new(99);
    assert!(matches!(
        succeed(&[&team.alice, &team.carol, &team.mallory, &stranger]),
        Err(ManifestError::Signatures(SignaturesError::Foreign { .. }))
    ));

    // Who knows only the new set takes the same envelope, with all its signatures.
    let pinned = VerifiedManifest::first(handed_over.envelope(), draft.authority.digest()).unwrap();
    assert_eq!(pinned.digest(), handed_over.digest());

    // From then on the old set approves nothing.
    let mut third = next(handed_over.manifest());
    third.outgoing_authority = None;
    assert!(handed_over.succeed(&signed(&third, &[&team.alice, &team.bob])).is_err());
    assert!(handed_over.succeed(&signed(&third, &[&team.carol, &team.mallory])).is_ok());
}

#[test]
fn a_lower_threshold_is_a_new_authority_too() {
    let team = team();
    let current = current(&team);
    let mut draft = next(current.manifest());
    draft.authority = authority(1, &[&team.alice, &team.bob, &team.carol]);
    draft.outgoing_authority = Some(current.manifest().authority().clone());
    let error = current.succeed(&signed(&draft, &[&team.alice])).unwrap_err();
    assert_eq!(error, ManifestError::OutgoingAuthority(SignaturesError::TooFew { expected: 2, found: 1 }));
    assert!(current.succeed(&signed(&draft, &[&team.alice, &team.bob])).is_ok());
}

#[test]
fn an_unsigned_manifest_is_only_a_draft() {
    let team = team();
    let payload = serde_json::to_vec(&first_draft(&team)).unwrap();
    assert!(Manifest::from_payload(&payload).is_ok());
    assert!(VerifiedManifest::danger_trust_as_given(&payload).is_err());
    assert!(VerifiedManifest::danger_trust_as_given(&envelope(&payload, &[]).to_json()).is_err());
}
