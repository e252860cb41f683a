-- Takes 023_ai_empowered_audit_trail.sql back. What the nine tables hold is lost: dump them first.
--
-- Children before parents, and no CASCADE: where something was built on these tables since, this stops and keeps
-- everything, instead of taking that with it.

DROP TABLE audit_bias_metrics;
DROP TABLE audit_ai_predictions;
DROP TABLE audit_access_log;
DROP TABLE audit_scheduled_reports;
DROP TABLE audit_integrations;
DROP TABLE audit_anomalies;
DROP TABLE audit_embeddings;
DROP TABLE audit_ml_models;
DROP TABLE roche_audit_logs;

DROP FUNCTION audit_reject_change();
DROP FUNCTION audit_current_tenant();
