-- 023: AI-empowered audit trail
--
-- Nine tables: the log itself, what models derive from it (embeddings, anomalies, predictions, bias metrics), and
-- what people do with it (integrations, scheduled reports, access log). Plain PostgreSQL 15, no extensions.
-- Taken back by rollback_023.sql.
--
-- There is no BEGIN and no COMMIT here: whoever applies this file does so in one transaction.
--
-- Every row belongs to a tenant. Row-level security shows a session the rows of the tenant that the application
-- names with `SET app.tenant_id = '…'`, and nothing where it names none.

-- The tenant of this session, or null where none is set: then no policy below lets a row through.
CREATE FUNCTION audit_current_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.tenant_id', true), '')::uuid;

-- Rows of the audit trail are never changed: an update or delete that got past the grants fails here.
CREATE FUNCTION audit_reject_change() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are append-only', tg_table_name
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Write a correcting row instead; retention is a matter of detaching old data.';
END
$$;

-- 1. Who did what to what. Each row carries the hash of the one before it, so that a gap shows.
CREATE TABLE roche_audit_logs (
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id      uuid        NOT NULL,
    occurred_at    timestamptz NOT NULL DEFAULT now(),
    event_type     text        NOT NULL CHECK (event_type ~ '^[a-z][a-z0-9_]{0,63}$'),
    entity_type    text        NOT NULL CHECK (entity_type <> ''),
    entity_id      text        NOT NULL CHECK (entity_id <> ''),
    user_id        uuid,
    severity       text        NOT NULL DEFAULT 'info'
                               CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    category       text        CHECK (category IN ('security', 'financial', 'resource', 'risk', 'compliance')),
    risk_level     text        CHECK (risk_level IN ('low', 'medium', 'high', 'critical')),
    action_details jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(action_details) = 'object'),
    tags           text[]      NOT NULL DEFAULT '{}',
    source_ip      inet,
    previous_hash  bytea       CHECK (octet_length(previous_hash) = 32),
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32),
    CONSTRAINT roche_audit_logs_pkey PRIMARY KEY (id),
    CONSTRAINT roche_audit_logs_hash_key UNIQUE (tenant_id, hash)
);
COMMENT ON TABLE roche_audit_logs IS 'Append-only record of who did what to what.';
COMMENT ON COLUMN roche_audit_logs.hash IS 'SHA-256 over this row and previous_hash.';

CREATE INDEX roche_audit_logs_tenant_time_idx ON roche_audit_logs (tenant_id, occurred_at DESC);
CREATE INDEX roche_audit_logs_event_type_idx ON roche_audit_logs (tenant_id, event_type, occurred_at DESC);
CREATE INDEX roche_audit_logs_entity_idx ON roche_audit_logs (entity_type, entity_id);
CREATE INDEX roche_audit_logs_user_idx ON roche_audit_logs (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX roche_audit_logs_critical_idx ON roche_audit_logs (tenant_id, occurred_at DESC)
    WHERE severity = 'critical';
CREATE INDEX roche_audit_logs_details_idx ON roche_audit_logs USING gin (action_details jsonb_path_ops);

CREATE TRIGGER roche_audit_logs_append_only
    BEFORE UPDATE OR DELETE ON roche_audit_logs
    FOR EACH ROW EXECUTE FUNCTION audit_reject_change();

-- 2. The models that derived something, by version, so that each result can be traced to its model.
CREATE TABLE audit_ml_models (
    id            uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id     uuid        NOT NULL,
    name          text        NOT NULL CHECK (name <> ''),
    version       text        NOT NULL CHECK (version <> ''),
    kind          text        NOT NULL
                              CHECK (kind IN ('anomaly_detector', 'category_classifier', 'risk_classifier', 'embedding')),
    trained_at    timestamptz NOT NULL,
    training_rows bigint      NOT NULL CHECK (training_rows >= 0),
    metrics       jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metrics) = 'object'),
    artifact_uri  text        NOT NULL,
    active        boolean     NOT NULL DEFAULT false,
    CONSTRAINT audit_ml_models_pkey PRIMARY KEY (id),
    CONSTRAINT audit_ml_models_version_key UNIQUE (tenant_id, name, version)
);
COMMENT ON TABLE audit_ml_models IS 'Trained models by version; at most one of a kind is active per tenant.';

CREATE UNIQUE INDEX audit_ml_models_one_active_idx ON audit_ml_models (tenant_id, kind) WHERE active;

-- 3. Vectors for the semantic search.
CREATE TABLE audit_embeddings (
    id         uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id  uuid        NOT NULL,
    event_id   uuid        NOT NULL,
    model_id   uuid        NOT NULL,
    content    text        NOT NULL,
    -- float4[] and not the vector type of pgvector, which not every server has. The application ranks what the other
    -- indexes leave over; where pgvector is installed, a later migration can cast the column in place.
    embedding  float4[]    NOT NULL CHECK (cardinality(embedding) BETWEEN 1 AND 4096),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_embeddings_pkey PRIMARY KEY (id),
    CONSTRAINT audit_embeddings_event_model_key UNIQUE (event_id, model_id),
    CONSTRAINT audit_embeddings_event_fkey FOREIGN KEY (event_id) REFERENCES roche_audit_logs (id),
    CONSTRAINT audit_embeddings_model_fkey FOREIGN KEY (model_id) REFERENCES audit_ml_models (id)
);
COMMENT ON TABLE audit_embeddings IS 'One vector per event and embedding model.';

CREATE INDEX audit_embeddings_tenant_idx ON audit_embeddings (tenant_id, created_at DESC);
CREATE INDEX audit_embeddings_model_idx ON audit_embeddings (model_id);

-- 4. Events that stand out, and what a person made of them.
CREATE TABLE audit_anomalies (
    id               uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id        uuid        NOT NULL,
    event_id         uuid        NOT NULL,
    model_id         uuid        NOT NULL,
    score            float8      NOT NULL CHECK (score BETWEEN 0 AND 1),
    detected_at      timestamptz NOT NULL DEFAULT now(),
    features         jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(features) = 'object'),
    explanation      text,
    status           text        NOT NULL DEFAULT 'open'
                                 CHECK (status IN ('open', 'confirmed', 'false_positive')),
    reviewed_by      uuid,
    reviewed_at      timestamptz,
    CONSTRAINT audit_anomalies_pkey PRIMARY KEY (id),
    CONSTRAINT audit_anomalies_event_model_key UNIQUE (event_id, model_id),
    CONSTRAINT audit_anomalies_event_fkey FOREIGN KEY (event_id) REFERENCES roche_audit_logs (id),
    CONSTRAINT audit_anomalies_model_fkey FOREIGN KEY (model_id) REFERENCES audit_ml_models (id),
    CONSTRAINT audit_anomalies_review_check
        CHECK ((status = 'open') = (reviewed_at IS NULL) AND (reviewed_by IS NULL) = (reviewed_at IS NULL))
);
COMMENT ON TABLE audit_anomalies IS 'Events that a model found unusual, with the verdict of a person.';

CREATE INDEX audit_anomalies_open_idx ON audit_anomalies (tenant_id, detected_at DESC) WHERE status = 'open';
CREATE INDEX audit_anomalies_model_idx ON audit_anomalies (model_id);

-- 5. Where events and anomalies are sent.
CREATE TABLE audit_integrations (
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id      uuid        NOT NULL,
    name           text        NOT NULL CHECK (name <> ''),
    kind           text        NOT NULL CHECK (kind IN ('slack', 'teams', 'zapier', 'email', 'webhook', 'siem')),
    -- What to connect to. Credentials are not kept here, only the name under which the vault has them.
    configuration  jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(configuration) = 'object'),
    credential_ref text,
    enabled        boolean     NOT NULL DEFAULT true,
    last_sent_at   timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_integrations_pkey PRIMARY KEY (id),
    CONSTRAINT audit_integrations_name_key UNIQUE (tenant_id, name)
);
COMMENT ON TABLE audit_integrations IS 'Outside systems that are told about events.';

CREATE INDEX audit_integrations_enabled_idx ON audit_integrations (tenant_id, kind) WHERE enabled;

-- 6. Reports that are sent by themselves.
CREATE TABLE audit_scheduled_reports (
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id      uuid        NOT NULL,
    name           text        NOT NULL CHECK (name <> ''),
    integration_id uuid        NOT NULL,
    schedule       text        NOT NULL CHECK (schedule ~ '^(\S+\s+){4}\S+$'),
    format         text        NOT NULL DEFAULT 'pdf' CHECK (format IN ('pdf', 'csv', 'json')),
    filters        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(filters) = 'object'),
    enabled        boolean     NOT NULL DEFAULT true,
    next_run_at    timestamptz,
    last_run_at    timestamptz,
    created_by     uuid        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_scheduled_reports_pkey PRIMARY KEY (id),
    CONSTRAINT audit_scheduled_reports_name_key UNIQUE (tenant_id, name),
    CONSTRAINT audit_scheduled_reports_integration_fkey
        FOREIGN KEY (integration_id) REFERENCES audit_integrations (id)
);
COMMENT ON COLUMN audit_scheduled_reports.schedule IS 'Five cron fields, in UTC.';

CREATE INDEX audit_scheduled_reports_due_idx ON audit_scheduled_reports (next_run_at) WHERE enabled;
CREATE INDEX audit_scheduled_reports_integration_idx ON audit_scheduled_reports (integration_id);

-- 7. Who looked at the audit trail: the trail of the trail, append-only like it.
CREATE TABLE audit_access_log (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    accessed_at timestamptz NOT NULL DEFAULT now(),
    access_type text        NOT NULL CHECK (access_type IN ('view', 'search', 'export', 'report')),
    event_id    uuid,
    query       jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(query) = 'object'),
    result_rows integer     NOT NULL DEFAULT 0 CHECK (result_rows >= 0),
    source_ip   inet,
    CONSTRAINT audit_access_log_pkey PRIMARY KEY (id),
    CONSTRAINT audit_access_log_event_fkey FOREIGN KEY (event_id) REFERENCES roche_audit_logs (id)
);
COMMENT ON TABLE audit_access_log IS 'Append-only record of who read the audit trail.';

CREATE INDEX audit_access_log_tenant_time_idx ON audit_access_log (tenant_id, accessed_at DESC);
CREATE INDEX audit_access_log_user_idx ON audit_access_log (user_id, accessed_at DESC);
CREATE INDEX audit_access_log_event_idx ON audit_access_log (event_id) WHERE event_id IS NOT NULL;

CREATE TRIGGER audit_access_log_append_only
    BEFORE UPDATE OR DELETE ON audit_access_log
    FOR EACH ROW EXECUTE FUNCTION audit_reject_change();

-- 8. What a model said about an event: its category and risk.
CREATE TABLE audit_ai_predictions (
    id             uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id      uuid        NOT NULL,
    event_id       uuid        NOT NULL,
    model_id       uuid        NOT NULL,
    predicted_at   timestamptz NOT NULL DEFAULT now(),
    field          text        NOT NULL CHECK (field IN ('category', 'risk_level')),
    predicted      text        NOT NULL,
    confidence     float8      NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    corrected_to   text,
    corrected_by   uuid,
    CONSTRAINT audit_ai_predictions_pkey PRIMARY KEY (id),
    CONSTRAINT audit_ai_predictions_once_key UNIQUE (event_id, model_id, field),
    CONSTRAINT audit_ai_predictions_event_fkey FOREIGN KEY (event_id) REFERENCES roche_audit_logs (id),
    CONSTRAINT audit_ai_predictions_model_fkey FOREIGN KEY (model_id) REFERENCES audit_ml_models (id),
    CONSTRAINT audit_ai_predictions_correction_check CHECK ((corrected_to IS NULL) = (corrected_by IS NULL))
);
COMMENT ON TABLE audit_ai_predictions IS 'What models said about events, and where people corrected them.';

CREATE INDEX audit_ai_predictions_model_idx ON audit_ai_predictions (model_id, predicted_at DESC);
CREATE INDEX audit_ai_predictions_unsure_idx ON audit_ai_predictions (tenant_id, confidence) WHERE confidence < 0.7;

-- 9. Whether models treat groups alike.
CREATE TABLE audit_bias_metrics (
    id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    tenant_id   uuid        NOT NULL,
    model_id    uuid        NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT now(),
    dimension   text        NOT NULL CHECK (dimension IN ('user_role', 'department', 'entity_type')),
    group_name  text        NOT NULL CHECK (group_name <> ''),
    metric      text        NOT NULL CHECK (metric IN ('detection_rate', 'false_positive_rate', 'confidence')),
    value       float8      NOT NULL,
    sample_size bigint      NOT NULL CHECK (sample_size > 0),
    exceeds     boolean     NOT NULL DEFAULT false,
    CONSTRAINT audit_bias_metrics_pkey PRIMARY KEY (id),
    CONSTRAINT audit_bias_metrics_model_fkey FOREIGN KEY (model_id) REFERENCES audit_ml_models (id)
);
COMMENT ON COLUMN audit_bias_metrics.exceeds IS 'Whether the group differs from the others by more than is allowed.';

CREATE INDEX audit_bias_metrics_model_idx ON audit_bias_metrics (model_id, measured_at DESC);
CREATE INDEX audit_bias_metrics_exceeds_idx ON audit_bias_metrics (tenant_id, measured_at DESC) WHERE exceeds;

-- Row-level security. It is not forced on the owner, since pg_dump refuses to copy rows that a policy may hide: the
-- application connects as a role of its own, never as the owner.
ALTER TABLE roche_audit_logs        ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_ml_models         ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_embeddings        ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_anomalies         ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_integrations      ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_scheduled_reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_access_log        ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_ai_predictions    ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_bias_metrics      ENABLE ROW LEVEL SECURITY;

-- The two logs can be read and added to; there is no policy under which they could be changed.
CREATE POLICY tenant_reads ON roche_audit_logs FOR SELECT USING (tenant_id = audit_current_tenant());
CREATE POLICY tenant_adds  ON roche_audit_logs FOR INSERT WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_reads ON audit_access_log FOR SELECT USING (tenant_id = audit_current_tenant());
CREATE POLICY tenant_adds  ON audit_access_log FOR INSERT WITH CHECK (tenant_id = audit_current_tenant());

CREATE POLICY tenant_rows ON audit_ml_models
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_rows ON audit_embeddings
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_rows ON audit_anomalies
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_rows ON audit_integrations
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_rows ON audit_scheduled_reports
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_rows ON audit_ai_predictions
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());
CREATE POLICY tenant_rows ON audit_bias_metrics
    USING (tenant_id = audit_current_tenant()) WITH CHECK (tenant_id = audit_current_tenant());

-- Operators read across tenants, to count rows after a migration or a restore. Who may is granted outside of this
-- file, by membership in the predefined role.
CREATE POLICY operator_reads ON roche_audit_logs        FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_ml_models         FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_embeddings        FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_anomalies         FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_integrations      FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_scheduled_reports FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_access_log        FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_ai_predictions    FOR SELECT TO pg_read_all_data USING (true);
CREATE POLICY operator_reads ON audit_bias_metrics      FOR SELECT TO pg_read_all_data USING (true);
