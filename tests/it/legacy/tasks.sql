-- The schema of connections and tasks, as the earlier OpenAct's two migrations left it.
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL
);
INSERT INTO _sqlx_migrations VALUES
    (1, 'initial schema', '2025-01-01 00:00:00', 1, x'01', 5), (2, 'add retry policy', '2025-01-02 00:00:00', 1, x'02', 5);
CREATE TABLE auth_connections (
    trn TEXT PRIMARY KEY, tenant TEXT NOT NULL, provider TEXT NOT NULL, user_id TEXT NOT NULL,
    access_token_encrypted TEXT NOT NULL, access_token_nonce TEXT NOT NULL, refresh_token_encrypted TEXT,
    refresh_token_nonce TEXT, expires_at DATETIME, token_type TEXT DEFAULT 'Bearer', scope TEXT,
    extra_data_encrypted TEXT, extra_data_nonce TEXT, key_version INTEGER DEFAULT 1,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, version INTEGER DEFAULT 1
);
CREATE TABLE auth_connection_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT, trn TEXT NOT NULL, operation TEXT NOT NULL, old_data_encrypted TEXT,
    old_data_nonce TEXT, new_data_encrypted TEXT, new_data_nonce TEXT, created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    reason TEXT, FOREIGN KEY (trn) REFERENCES auth_connections (trn) ON DELETE CASCADE
);
CREATE TABLE connections (
    trn TEXT PRIMARY KEY, name TEXT NOT NULL, authorization_type TEXT NOT NULL, auth_params_encrypted TEXT NOT NULL,
    auth_params_nonce TEXT NOT NULL, auth_ref TEXT, default_headers_json TEXT, default_query_params_json TEXT,
    default_body_json TEXT, network_config_json TEXT, timeout_config_json TEXT, http_policy_json TEXT,
    key_version INTEGER DEFAULT 1, created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, version INTEGER DEFAULT 1
);
CREATE TABLE tasks (
    trn TEXT PRIMARY KEY, name TEXT NOT NULL, connection_trn TEXT NOT NULL, api_endpoint TEXT NOT NULL,
    method TEXT NOT NULL, headers_json TEXT, query_params_json TEXT, request_body_json TEXT, timeout_config_json TEXT,
    network_config_json TEXT, http_policy_json TEXT, response_policy_json TEXT,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, version INTEGER DEFAULT 1,
    FOREIGN KEY (connection_trn) REFERENCES connections (trn) ON DELETE CASCADE
);
CREATE INDEX idx_auth_connections_tenant_provider ON auth_connections (tenant, provider);
CREATE INDEX idx_auth_connections_expires_at ON auth_connections (expires_at);
CREATE INDEX idx_connections_authorization_type ON connections (authorization_type);
CREATE INDEX idx_connections_auth_ref ON connections (auth_ref);
CREATE INDEX idx_connections_name ON connections (name);
CREATE UNIQUE INDEX idx_connections_trn ON connections (trn);
CREATE INDEX idx_tasks_connection_trn ON tasks (connection_trn);
CREATE INDEX idx_tasks_method ON tasks (method);
CREATE INDEX idx_tasks_name ON tasks (name);
ALTER TABLE connections ADD COLUMN retry_policy_json TEXT;
ALTER TABLE tasks ADD COLUMN retry_policy_json TEXT;
