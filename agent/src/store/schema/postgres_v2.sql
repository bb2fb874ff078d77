-- Version 2 of the agent's store on PostgreSQL, the first that there is. docs/schema.md explains every table; it,
-- this file and sqlite_v2.sql change together. Everything is in the schema `sealstone`, which the search path names.
-- 64-bit numbers of clients (chain_id, nonce) are stored as the signed integer of the same bits.

CREATE TABLE version (
    version BIGINT NOT NULL PRIMARY KEY
);

-- `instance` is the agent that writes for the node: a later one takes it over. `batch` counts its transactions, so
-- that the outcome of a lost commit can be looked up; `audit_size` is the node's next index in `audit`.
CREATE TABLE nodes (
    number     BIGINT NOT NULL PRIMARY KEY CHECK (number >= 0 AND number < 4194304),
    name       TEXT   NOT NULL UNIQUE,
    instance   BYTEA  NOT NULL CHECK (length(instance) = 16),
    batch      BIGINT NOT NULL DEFAULT 0,
    audit_size BIGINT NOT NULL DEFAULT 0
);

-- What belongs to the deployment has node -1.
CREATE TABLE meta (
    node  BIGINT NOT NULL CHECK (node >= -1),
    name  TEXT   NOT NULL,
    value BYTEA  NOT NULL,
    PRIMARY KEY (node, name)
);

CREATE TABLE assets (
    tenant     TEXT COLLATE "C" NOT NULL,
    asset      TEXT COLLATE "C" NOT NULL,
    sender     TEXT COLLATE "C" NOT NULL UNIQUE,
    algorithm  TEXT NOT NULL CHECK (algorithm IN ('ES256', 'ES256K', 'EdDSA')),
    retired_at BIGINT,
    PRIMARY KEY (tenant, asset)
);

CREATE TABLE epochs (
    tenant     TEXT COLLATE "C" NOT NULL,
    asset      TEXT COLLATE "C" NOT NULL,
    epoch      BIGINT NOT NULL CHECK (epoch >= 0),
    binding    BYTEA  NOT NULL CHECK (length(binding) = 32),
    key_id     BYTEA  NOT NULL CHECK (length(key_id) = 32),
    public_key BYTEA  NOT NULL CHECK (length(public_key) IN (32, 33)),
    since      BIGINT NOT NULL,
    PRIMARY KEY (tenant, asset, epoch),
    FOREIGN KEY (tenant, asset) REFERENCES assets (tenant, asset)
);

CREATE TABLE eras (
    node             BIGINT NOT NULL REFERENCES nodes (number),
    era              BIGINT NOT NULL CHECK (era >= 0),
    first_seen       BIGINT NOT NULL,
    complete_through BIGINT NOT NULL DEFAULT 0 CHECK (complete_through >= 0),
    PRIMARY KEY (node, era)
);

CREATE TABLE reservations (
    id               BIGINT NOT NULL PRIMARY KEY,
    chain_id         BIGINT NOT NULL,
    sender           TEXT COLLATE "C" NOT NULL,
    nonce            BIGINT NOT NULL,
    -- 0 is the one that stands. Those that were replaced count up from 1.
    generation       BIGINT NOT NULL DEFAULT 0 CHECK (generation >= 0),
    replaces         BIGINT,
    state            TEXT   NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'signed', 'voided', 'replaced')),
    resumed          BIGINT NOT NULL DEFAULT 0 CHECK (resumed IN (0, 1)),
    request          BYTEA  NOT NULL CHECK (length(request) = 32),
    client           TEXT   NOT NULL,
    policy           BYTEA  CHECK (length(policy) = 32),
    epoch            BIGINT CHECK (epoch >= 0),
    hour             BIGINT CHECK (hour >= 0),
    binding          BYTEA  CHECK (length(binding) = 32),
    issued_at_ms     BIGINT CHECK (issued_at_ms >= 0),
    node             BIGINT NOT NULL,
    era              BIGINT NOT NULL,
    sequence_seen    BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    receipt_node     BIGINT,
    receipt_era      BIGINT,
    receipt_sequence BIGINT,
    UNIQUE (chain_id, sender, nonce, generation),
    FOREIGN KEY (node, era) REFERENCES eras (node, era),
    -- An asset's key has an epoch; a session key has an hour, a binding and a time of issue.
    CHECK (CASE WHEN epoch IS NULL
        THEN hour IS NOT NULL AND binding IS NOT NULL AND issued_at_ms IS NOT NULL
        ELSE hour IS NULL AND binding IS NULL AND issued_at_ms IS NULL END),
    CHECK ((receipt_era IS NULL) = (receipt_sequence IS NULL) AND (receipt_era IS NULL) = (receipt_node IS NULL)),
    CHECK (CASE state WHEN 'reserved' THEN receipt_era IS NULL WHEN 'signed' THEN receipt_era IS NOT NULL ELSE TRUE END),
    CHECK ((state = 'replaced') = (generation > 0))
);

-- Only what is in flight: the index stays small however many signatures there have been.
CREATE INDEX open_reservations ON reservations (request) WHERE state = 'reserved';

CREATE TABLE receipts (
    node             BIGINT NOT NULL,
    era              BIGINT NOT NULL,
    sequence         BIGINT NOT NULL CHECK (sequence > 0),
    reservation      BIGINT NOT NULL,
    algorithm        TEXT   NOT NULL CHECK (algorithm IN ('ES256', 'ES256K', 'EdDSA')),
    public_key       BYTEA  NOT NULL CHECK (length(public_key) IN (32, 33)),
    digest           BYTEA  NOT NULL CHECK (length(digest) = 32),
    recovery_id      BIGINT CHECK (recovery_id BETWEEN 0 AND 3),
    previous         BYTEA  NOT NULL CHECK (length(previous) = 32),
    key_id           BYTEA  NOT NULL CHECK (length(key_id) = 32),
    epoch            BIGINT NOT NULL CHECK (epoch >= 0),
    binding          BYTEA  NOT NULL CHECK (length(binding) = 32),
    session          BYTEA  NOT NULL CHECK (length(session) = 16),
    time             BIGINT NOT NULL,
    signature        BYTEA  NOT NULL CHECK (length(signature) = 64),
    report_signature BYTEA  NOT NULL CHECK (length(report_signature) = 64),
    attested_until   BIGINT NOT NULL,
    PRIMARY KEY (node, era, sequence),
    FOREIGN KEY (node, era) REFERENCES eras (node, era)
);

CREATE TABLE idempotency (
    client      TEXT   NOT NULL,
    key         TEXT   NOT NULL CHECK (length(key) > 0),
    reservation BIGINT NOT NULL REFERENCES reservations (id) ON DELETE CASCADE,
    PRIMARY KEY (client, key)
);

CREATE INDEX idempotency_of_reservation ON idempotency (reservation);

-- A sender's row is locked by every transaction that reserves for it, in the order of `sender`.
CREATE TABLE senders (
    sender TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    at_ms  BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE windows (
    sender TEXT COLLATE "C" NOT NULL,
    name   TEXT COLLATE "C" NOT NULL,
    total  TEXT NOT NULL,
    PRIMARY KEY (sender, name)
) WITH (fillfactor = 50);

CREATE TABLE spends (
    sender      TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    at_ms       BIGINT NOT NULL,
    reservation BIGINT NOT NULL,
    amount      TEXT   NOT NULL,
    PRIMARY KEY (sender, name, at_ms, reservation)
);

CREATE INDEX spends_of_reservation ON spends (reservation);

-- One partition for each month. A time for which none was made ahead goes to `audit_other`: a record is never lost
-- for want of a partition. (node, idx) is unique by the counter in the locked row of `nodes`.
CREATE TABLE audit (
    node      BIGINT NOT NULL REFERENCES nodes (number),
    idx       BIGINT NOT NULL CHECK (idx >= 0),
    time_ms   BIGINT NOT NULL,
    kind      TEXT   NOT NULL,
    code      TEXT,
    tenant    TEXT COLLATE "C",
    sender    TEXT COLLATE "C",
    client    TEXT,
    request   BYTEA  CHECK (length(request) = 32),
    key_id    BYTEA  CHECK (length(key_id) = 32),
    epoch     BIGINT,
    leaf      BYTEA  NOT NULL,
    leaf_hash BYTEA  NOT NULL CHECK (length(leaf_hash) = 32),
    PRIMARY KEY (node, idx, time_ms)
) PARTITION BY RANGE (time_ms);

CREATE INDEX audit_by_time ON audit USING brin (time_ms);
CREATE INDEX audit_by_sender ON audit (tenant, sender, time_ms);
CREATE INDEX audit_by_request ON audit (request);

CREATE TABLE audit_tiles (
    node   BIGINT NOT NULL,
    level  BIGINT NOT NULL CHECK (level >= 0),
    idx    BIGINT NOT NULL CHECK (idx >= 0),
    hashes BYTEA  NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (node, level, idx)
);

CREATE TABLE checkpoints (
    node BIGINT NOT NULL,
    size BIGINT NOT NULL CHECK (size >= 0),
    root BYTEA  NOT NULL CHECK (length(root) = 32),
    note BYTEA  NOT NULL,
    PRIMARY KEY (node, size)
);

-- The first receipt of a reservation is its answer. A later one (the same request, signed again after a lost
-- answer) is kept, and changes nothing.
CREATE FUNCTION receipt_answers() RETURNS trigger LANGUAGE plpgsql SET search_path = sealstone, pg_temp AS $$
BEGIN
    UPDATE reservations SET receipt_node = NEW.node, receipt_era = NEW.era, receipt_sequence = NEW.sequence,
            state = CASE state WHEN 'reserved' THEN 'signed' ELSE state END
        WHERE id = NEW.reservation AND receipt_sequence IS NULL;
    IF NOT FOUND AND NOT EXISTS (SELECT 1 FROM reservations WHERE id = NEW.reservation) THEN
        RAISE EXCEPTION 'a receipt needs its reservation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER receipt_answers AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION receipt_answers();

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: %', TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER answered_stays BEFORE DELETE ON reservations FOR EACH ROW WHEN (OLD.state <> 'reserved')
    EXECUTE FUNCTION refuse('an answered or voided reservation is never deleted');
CREATE TRIGGER reservation_stays
    BEFORE UPDATE OF id, chain_id, sender, nonce, request, epoch, hour, binding, issued_at_ms ON reservations
    FOR EACH ROW EXECUTE FUNCTION refuse('what is reserved, and for whom, is never changed');
CREATE TRIGGER answer_stays BEFORE UPDATE OF receipt_node, receipt_era, receipt_sequence ON reservations
    FOR EACH ROW WHEN (OLD.receipt_sequence IS NOT NULL) EXECUTE FUNCTION refuse('an answer is never changed');
CREATE TRIGGER reservations_not_emptied BEFORE TRUNCATE ON reservations
    EXECUTE FUNCTION refuse('no reservation is ever forgotten');

CREATE TRIGGER not_changed BEFORE UPDATE OR DELETE ON receipts FOR EACH ROW EXECUTE FUNCTION refuse('no change');
CREATE TRIGGER not_emptied BEFORE TRUNCATE ON receipts EXECUTE FUNCTION refuse('no truncation');
CREATE TRIGGER not_changed BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse('no change');
CREATE TRIGGER not_emptied BEFORE TRUNCATE ON audit EXECUTE FUNCTION refuse('no truncation');
CREATE TRIGGER not_changed BEFORE UPDATE OR DELETE ON audit_tiles FOR EACH ROW EXECUTE FUNCTION refuse('no change');
CREATE TRIGGER not_emptied BEFORE TRUNCATE ON audit_tiles EXECUTE FUNCTION refuse('no truncation');
CREATE TRIGGER not_changed BEFORE UPDATE OR DELETE ON checkpoints FOR EACH ROW EXECUTE FUNCTION refuse('no change');
CREATE TRIGGER not_emptied BEFORE TRUNCATE ON checkpoints EXECUTE FUNCTION refuse('no truncation');

CREATE TABLE audit_other PARTITION OF audit DEFAULT;
CREATE TRIGGER not_emptied_itself BEFORE TRUNCATE ON audit_other EXECUTE FUNCTION refuse('no truncation');

-- Makes the partition of the month that holds this time; says whether there is one. Runs as its owner, so that the
-- agent's role needs no right to make tables. A month whose records went to `audit_other` keeps them there.
CREATE FUNCTION make_audit_partition(at_ms BIGINT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = sealstone, pg_temp AS $$
DECLARE
    month  TIMESTAMP := date_trunc('month', to_timestamp(at_ms / 1000.0) AT TIME ZONE 'UTC');
    name   TEXT      := 'audit_' || to_char(month, 'YYYY_MM');
    first  BIGINT    := extract(epoch FROM month)::BIGINT * 1000;
    beyond BIGINT    := extract(epoch FROM month + interval '1 month')::BIGINT * 1000;
BEGIN
    IF at_ms < 0 OR month > now() AT TIME ZONE 'UTC' + interval '1 year' THEN
        RETURN FALSE;
    END IF;
    IF to_regclass('sealstone.' || name) IS NOT NULL THEN
        RETURN TRUE;
    END IF;
    PERFORM pg_advisory_xact_lock(6000541137146700);
    IF to_regclass('sealstone.' || name) IS NOT NULL THEN
        RETURN TRUE;
    END IF;
    EXECUTE format('CREATE TABLE %I PARTITION OF audit FOR VALUES FROM (%s) TO (%s)', name, first, beyond);
    EXECUTE format('CREATE TRIGGER not_emptied_itself BEFORE TRUNCATE ON %I EXECUTE FUNCTION refuse(''no truncation'')', name);
    RETURN TRUE;
EXCEPTION WHEN check_violation THEN
    RETURN FALSE;
END $$;
REVOKE ALL ON FUNCTION make_audit_partition(BIGINT) FROM PUBLIC;
