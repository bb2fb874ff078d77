-- Version 1 of the agent's store. docs/schema.md explains every table; it and this file change together.
-- 64-bit numbers of clients (chain_id, nonce) are stored as the signed integer of the same bits.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE assets (
    tenant    TEXT NOT NULL,
    asset     TEXT NOT NULL,
    algorithm TEXT NOT NULL CHECK (algorithm IN ('ES256', 'ES256K', 'EdDSA')),
    PRIMARY KEY (tenant, asset)
) STRICT, WITHOUT ROWID;

CREATE TABLE epochs (
    tenant     TEXT    NOT NULL,
    asset      TEXT    NOT NULL,
    epoch      INTEGER NOT NULL CHECK (epoch >= 0),
    binding    BLOB    NOT NULL CHECK (length(binding) = 32),
    key_id     BLOB    NOT NULL CHECK (length(key_id) = 32),
    public_key BLOB    NOT NULL CHECK (length(public_key) IN (32, 33)),
    since      INTEGER NOT NULL,
    PRIMARY KEY (tenant, asset, epoch),
    FOREIGN KEY (tenant, asset) REFERENCES assets (tenant, asset)
) STRICT, WITHOUT ROWID;

CREATE TABLE eras (
    era              INTEGER NOT NULL PRIMARY KEY CHECK (era >= 0),
    first_seen       INTEGER NOT NULL,
    complete_through INTEGER NOT NULL DEFAULT 0 CHECK (complete_through >= 0)
) STRICT;

CREATE TABLE reservations (
    id               INTEGER NOT NULL PRIMARY KEY,
    chain_id         INTEGER NOT NULL,
    sender           TEXT    NOT NULL,
    nonce            INTEGER NOT NULL,
    request          BLOB    NOT NULL CHECK (length(request) = 32),
    epoch            INTEGER CHECK (epoch >= 0),
    hour             INTEGER CHECK (hour >= 0),
    binding          BLOB    CHECK (length(binding) = 32),
    issued_at_ms     INTEGER CHECK (issued_at_ms >= 0),
    era              INTEGER NOT NULL REFERENCES eras (era),
    sequence_seen    INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    receipt_era      INTEGER,
    receipt_sequence INTEGER,
    UNIQUE (chain_id, sender, nonce),
    -- An asset's key has an epoch; a session key has an hour, a binding and a time of issue.
    CHECK (CASE WHEN epoch IS NULL
        THEN hour IS NOT NULL AND binding IS NOT NULL AND issued_at_ms IS NOT NULL
        ELSE hour IS NULL AND binding IS NULL AND issued_at_ms IS NULL END),
    CHECK ((receipt_era IS NULL) = (receipt_sequence IS NULL))
) STRICT;

-- Only what is in flight: the index stays one page however many signatures there have been.
CREATE INDEX open_reservations ON reservations (request) WHERE receipt_sequence IS NULL;

CREATE TABLE receipts (
    era              INTEGER NOT NULL REFERENCES eras (era),
    sequence         INTEGER NOT NULL CHECK (sequence > 0),
    reservation      INTEGER NOT NULL,
    algorithm        TEXT    NOT NULL CHECK (algorithm IN ('ES256', 'ES256K', 'EdDSA')),
    public_key       BLOB    NOT NULL CHECK (length(public_key) IN (32, 33)),
    digest           BLOB    NOT NULL CHECK (length(digest) = 32),
    recovery_id      INTEGER CHECK (recovery_id BETWEEN 0 AND 3),
    previous         BLOB    NOT NULL CHECK (length(previous) = 32),
    key_id           BLOB    NOT NULL CHECK (length(key_id) = 32),
    epoch            INTEGER NOT NULL CHECK (epoch >= 0),
    binding          BLOB    NOT NULL CHECK (length(binding) = 32),
    session          BLOB    NOT NULL CHECK (length(session) = 16),
    time             INTEGER NOT NULL,
    signature        BLOB    NOT NULL CHECK (length(signature) = 64),
    report_signature BLOB    NOT NULL CHECK (length(report_signature) = 64),
    attested_until   INTEGER NOT NULL,
    PRIMARY KEY (era, sequence)
) STRICT, WITHOUT ROWID;

-- The first receipt of a reservation is its answer. A later one (the same request, signed again after a lost
-- answer) is kept, and changes nothing. `reservation` is not a foreign key, because releasing a reservation
-- would then search every receipt for it.
CREATE TRIGGER receipt_answers AFTER INSERT ON receipts BEGIN
    SELECT RAISE(ABORT, 'a receipt needs its reservation')
        WHERE NOT EXISTS (SELECT 1 FROM reservations WHERE id = NEW.reservation);
    UPDATE reservations SET receipt_era = NEW.era, receipt_sequence = NEW.sequence
        WHERE id = NEW.reservation AND receipt_sequence IS NULL;
END;

CREATE TRIGGER answered_stays BEFORE DELETE ON reservations WHEN OLD.receipt_sequence IS NOT NULL BEGIN
    SELECT RAISE(ABORT, 'an answered reservation is never deleted');
END;

CREATE TABLE idempotency (
    client      TEXT    NOT NULL,
    key         TEXT    NOT NULL CHECK (length(key) > 0),
    reservation INTEGER NOT NULL REFERENCES reservations (id) ON DELETE CASCADE,
    PRIMARY KEY (client, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_of_reservation ON idempotency (reservation);
