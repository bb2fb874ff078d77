-- Version 2 of the agent's store on SQLite: from version 1, with what it holds. docs/schema.md explains every table;
-- it, this file and postgres_v2.sql change together.
-- 64-bit numbers of clients (chain_id, nonce) are stored as the signed integer of the same bits.
-- A file has one node, number 0. The column is there so that the same statements serve PostgreSQL.

DROP TRIGGER receipt_answers;
DROP TRIGGER answered_stays;
DROP INDEX open_reservations;
DROP INDEX idempotency_of_reservation;
ALTER TABLE meta RENAME TO meta_v1;
ALTER TABLE assets RENAME TO assets_v1;
ALTER TABLE epochs RENAME TO epochs_v1;
ALTER TABLE eras RENAME TO eras_v1;
ALTER TABLE reservations RENAME TO reservations_v1;
ALTER TABLE receipts RENAME TO receipts_v1;
ALTER TABLE idempotency RENAME TO idempotency_v1;

CREATE TABLE nodes (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number = 0),
    name   TEXT    NOT NULL
) STRICT;

INSERT INTO nodes (number, name) VALUES (0, '');

-- What belongs to the deployment has node -1.
CREATE TABLE meta (
    node  INTEGER NOT NULL CHECK (node >= -1),
    name  TEXT    NOT NULL,
    value BLOB    NOT NULL,
    PRIMARY KEY (node, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE assets (
    tenant     TEXT NOT NULL,
    asset      TEXT NOT NULL,
    sender     TEXT NOT NULL UNIQUE,
    algorithm  TEXT NOT NULL CHECK (algorithm IN ('ES256', 'ES256K', 'EdDSA')),
    retired_at INTEGER,
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
    node             INTEGER NOT NULL REFERENCES nodes (number),
    era              INTEGER NOT NULL CHECK (era >= 0),
    first_seen       INTEGER NOT NULL,
    complete_through INTEGER NOT NULL DEFAULT 0 CHECK (complete_through >= 0),
    PRIMARY KEY (node, era)
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
    id               INTEGER NOT NULL PRIMARY KEY,
    chain_id         INTEGER NOT NULL,
    sender           TEXT    NOT NULL,
    nonce            INTEGER NOT NULL,
    -- 0 is the one that stands. Those that were replaced count up from 1.
    generation       INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0),
    replaces         INTEGER,
    state            TEXT    NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'signed', 'voided', 'replaced')),
    resumed          INTEGER NOT NULL DEFAULT 0 CHECK (resumed IN (0, 1)),
    request          BLOB    NOT NULL CHECK (length(request) = 32),
    client           TEXT    NOT NULL,
    policy           BLOB    CHECK (length(policy) = 32),
    epoch            INTEGER CHECK (epoch >= 0),
    hour             INTEGER CHECK (hour >= 0),
    binding          BLOB    CHECK (length(binding) = 32),
    issued_at_ms     INTEGER CHECK (issued_at_ms >= 0),
    node             INTEGER NOT NULL,
    era              INTEGER NOT NULL,
    sequence_seen    INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    receipt_node     INTEGER,
    receipt_era      INTEGER,
    receipt_sequence INTEGER,
    UNIQUE (chain_id, sender, nonce, generation),
    FOREIGN KEY (node, era) REFERENCES eras (node, era),
    -- An asset's key has an epoch; a session key has an hour, a binding and a time of issue.
    CHECK (CASE WHEN epoch IS NULL
        THEN hour IS NOT NULL AND binding IS NOT NULL AND issued_at_ms IS NOT NULL
        ELSE hour IS NULL AND binding IS NULL AND issued_at_ms IS NULL END),
    CHECK ((receipt_era IS NULL) = (receipt_sequence IS NULL) AND (receipt_era IS NULL) = (receipt_node IS NULL)),
    CHECK (CASE state WHEN 'reserved' THEN receipt_era IS NULL WHEN 'signed' THEN receipt_era IS NOT NULL ELSE 1 END),
    CHECK ((state = 'replaced') = (generation > 0))
) STRICT;

CREATE TABLE receipts (
    node             INTEGER NOT NULL,
    era              INTEGER NOT NULL,
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
    PRIMARY KEY (node, era, sequence),
    FOREIGN KEY (node, era) REFERENCES eras (node, era)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    client      TEXT    NOT NULL,
    key         TEXT    NOT NULL CHECK (length(key) > 0),
    reservation INTEGER NOT NULL REFERENCES reservations (id) ON DELETE CASCADE,
    PRIMARY KEY (client, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE senders (
    sender TEXT    NOT NULL PRIMARY KEY,
    at_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE windows (
    sender TEXT NOT NULL,
    name   TEXT NOT NULL,
    total  TEXT NOT NULL,
    PRIMARY KEY (sender, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE spends (
    sender      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL,
    reservation INTEGER NOT NULL,
    amount      TEXT    NOT NULL,
    PRIMARY KEY (sender, name, at_ms, reservation)
) STRICT, WITHOUT ROWID;

CREATE INDEX spends_of_reservation ON spends (reservation);

CREATE TABLE audit (
    idx       INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0),
    node      INTEGER NOT NULL CHECK (node = 0),
    time_ms   INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    code      TEXT,
    tenant    TEXT,
    sender    TEXT,
    client    TEXT,
    request   BLOB    CHECK (length(request) = 32),
    key_id    BLOB    CHECK (length(key_id) = 32),
    epoch     INTEGER,
    leaf      BLOB    NOT NULL,
    leaf_hash BLOB    NOT NULL CHECK (length(leaf_hash) = 32)
) STRICT;

CREATE INDEX audit_by_time ON audit (time_ms, node, idx);
CREATE INDEX audit_by_sender ON audit (tenant, sender, time_ms);
CREATE INDEX audit_by_request ON audit (request);

CREATE TABLE audit_tiles (
    node   INTEGER NOT NULL,
    level  INTEGER NOT NULL CHECK (level >= 0),
    idx    INTEGER NOT NULL CHECK (idx >= 0),
    hashes BLOB    NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (node, level, idx)
) STRICT;

CREATE TABLE checkpoints (
    node INTEGER NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB    NOT NULL CHECK (length(root) = 32),
    note BLOB    NOT NULL,
    PRIMARY KEY (node, size)
) STRICT;

INSERT INTO meta (node, name, value)
    SELECT CASE name WHEN 'deployment' THEN -1 ELSE 0 END, name, value FROM meta_v1;
INSERT INTO assets (tenant, asset, sender, algorithm)
    SELECT tenant, asset, 'asset:' || length(CAST(tenant AS BLOB)) || ':' || tenant || ':' || asset, algorithm
    FROM assets_v1;
INSERT INTO epochs (tenant, asset, epoch, binding, key_id, public_key, since)
    SELECT tenant, asset, epoch, binding, key_id, public_key, since FROM epochs_v1;
INSERT INTO eras (node, era, first_seen, complete_through)
    SELECT 0, era, first_seen, complete_through FROM eras_v1;
-- An open reservation of before may have been given to a second request since: it is never released.
INSERT INTO reservations (id, chain_id, sender, nonce, state, resumed, request, client, epoch, hour, binding,
        issued_at_ms, node, era, sequence_seen, created_at, receipt_node, receipt_era, receipt_sequence)
    SELECT id, chain_id, sender, nonce, CASE WHEN receipt_sequence IS NULL THEN 'reserved' ELSE 'signed' END, 1,
        request, coalesce((SELECT 'uid:' || i.client FROM idempotency_v1 i WHERE i.reservation = r.id LIMIT 1), ''),
        epoch, hour, binding, issued_at_ms, 0, era, sequence_seen, created_at,
        CASE WHEN receipt_sequence IS NULL THEN NULL ELSE 0 END, receipt_era, receipt_sequence
    FROM reservations_v1 r;
INSERT INTO receipts (node, era, sequence, reservation, algorithm, public_key, digest, recovery_id, previous, key_id,
        epoch, binding, session, time, signature, report_signature, attested_until)
    SELECT 0, era, sequence, reservation, algorithm, public_key, digest, recovery_id, previous, key_id, epoch,
        binding, session, time, signature, report_signature, attested_until
    FROM receipts_v1;
INSERT INTO idempotency (client, key, reservation)
    SELECT 'uid:' || client, key, reservation FROM idempotency_v1;

DROP TABLE idempotency_v1;
DROP TABLE receipts_v1;
DROP TABLE reservations_v1;
DROP TABLE eras_v1;
DROP TABLE epochs_v1;
DROP TABLE assets_v1;
DROP TABLE meta_v1;

-- Only what is in flight: the index stays one page however many signatures there have been.
CREATE INDEX open_reservations ON reservations (request) WHERE state = 'reserved';
CREATE INDEX idempotency_of_reservation ON idempotency (reservation);

-- The first receipt of a reservation is its answer. A later one (the same request, signed again after a lost
-- answer) is kept, and changes nothing. `reservation` is not a foreign key, because releasing a reservation
-- would then search every receipt for it.
CREATE TRIGGER receipt_answers AFTER INSERT ON receipts BEGIN
    SELECT RAISE(ABORT, 'a receipt needs its reservation')
        WHERE NOT EXISTS (SELECT 1 FROM reservations WHERE id = NEW.reservation);
    UPDATE reservations SET receipt_node = NEW.node, receipt_era = NEW.era, receipt_sequence = NEW.sequence,
            state = CASE state WHEN 'reserved' THEN 'signed' ELSE state END
        WHERE id = NEW.reservation AND receipt_sequence IS NULL;
END;

CREATE TRIGGER answered_stays BEFORE DELETE ON reservations WHEN OLD.state <> 'reserved' BEGIN
    SELECT RAISE(ABORT, 'an answered or voided reservation is never deleted');
END;
CREATE TRIGGER reservation_stays
    BEFORE UPDATE OF id, chain_id, sender, nonce, request, epoch, hour, binding, issued_at_ms ON reservations BEGIN
    SELECT RAISE(ABORT, 'what is reserved, and for whom, is never changed');
END;
CREATE TRIGGER answer_stays BEFORE UPDATE OF receipt_node, receipt_era, receipt_sequence ON reservations
    WHEN OLD.receipt_sequence IS NOT NULL BEGIN
    SELECT RAISE(ABORT, 'an answer is never changed');
END;

CREATE TRIGGER receipts_not_changed BEFORE UPDATE ON receipts BEGIN
    SELECT RAISE(ABORT, 'receipts are append-only');
END;
CREATE TRIGGER receipts_not_deleted BEFORE DELETE ON receipts BEGIN
    SELECT RAISE(ABORT, 'receipts are append-only');
END;
CREATE TRIGGER audit_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
CREATE TRIGGER audit_not_deleted BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
CREATE TRIGGER audit_tiles_not_changed BEFORE UPDATE ON audit_tiles BEGIN
    SELECT RAISE(ABORT, 'audit_tiles is append-only');
END;
CREATE TRIGGER audit_tiles_not_deleted BEFORE DELETE ON audit_tiles BEGIN
    SELECT RAISE(ABORT, 'audit_tiles is append-only');
END;
CREATE TRIGGER checkpoints_not_changed BEFORE UPDATE ON checkpoints BEGIN
    SELECT RAISE(ABORT, 'checkpoints is append-only');
END;
CREATE TRIGGER checkpoints_not_deleted BEFORE DELETE ON checkpoints BEGIN
    SELECT RAISE(ABORT, 'checkpoints is append-only');
END;
