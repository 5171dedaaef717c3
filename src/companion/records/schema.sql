-- Made from schema.py by `python -m companion.records.schema`.
CREATE TABLE attempts (
exchange_id TEXT NOT NULL,
number SMALLINT NOT NULL,
endpoint TEXT NOT NULL,
credential SMALLINT NOT NULL,
reason TEXT,
model TEXT,
url TEXT,
started FLOAT,
reused BOOLEAN,
waited FLOAT,
dns FLOAT,
connect FLOAT,
tls FLOAT,
write FLOAT,
first_byte FLOAT,
first_content FLOAT,
ended FLOAT,
status SMALLINT,
fault_party TEXT,
fault_phase TEXT,
fault_kind TEXT,
fault_message TEXT,
fault_error_type TEXT,
request_id TEXT,
violations TEXT,
repairs TEXT,
sent_bytes BIGINT,
received_bytes BIGINT,
PRIMARY KEY (exchange_id, number)
)
WITHOUT ROWID;
CREATE TABLE blobs (
id INTEGER NOT NULL,
size BIGINT NOT NULL,
data BLOB NOT NULL,
PRIMARY KEY (id)
);
CREATE TABLE contents (
exchange_id TEXT NOT NULL,
attempt SMALLINT NOT NULL,
kind SMALLINT NOT NULL,
part INTEGER NOT NULL,
size BIGINT NOT NULL,
same_as SMALLINT,
recipe BLOB,
times BLOB,
PRIMARY KEY (exchange_id, attempt, kind, part)
)
WITHOUT ROWID;
CREATE TABLE exchanges (
id TEXT NOT NULL,
started FLOAT NOT NULL,
ended FLOAT,
method TEXT NOT NULL,
path TEXT NOT NULL,
"query" TEXT,
model TEXT,
model_sent TEXT,
stream BOOLEAN,
client TEXT,
session TEXT,
agent TEXT,
parent_agent TEXT,
labels TEXT,
peer TEXT,
user_agent TEXT,
outcome TEXT,
note TEXT,
status SMALLINT,
endpoint TEXT,
credential SMALLINT,
attempts SMALLINT,
first_byte FLOAT,
first_content FLOAT,
seconds FLOAT,
input_tokens BIGINT,
output_tokens BIGINT,
cache_read_tokens BIGINT,
cache_5m_tokens BIGINT,
cache_1h_tokens BIGINT,
reasoning_tokens BIGINT,
stop_reason TEXT,
fault_party TEXT,
fault_phase TEXT,
fault_kind TEXT,
fault_message TEXT,
fault_error_type TEXT,
violations TEXT,
repairs TEXT,
request_bytes BIGINT,
response_bytes BIGINT,
PRIMARY KEY (id)
)
WITHOUT ROWID;
CREATE TABLE learned (
about TEXT NOT NULL,
model TEXT NOT NULL,
repair TEXT NOT NULL,
endpoint TEXT NOT NULL,
said TEXT NOT NULL,
at FLOAT NOT NULL,
PRIMARY KEY (about, model, repair)
)
WITHOUT ROWID;
CREATE TABLE pieces (
id INTEGER NOT NULL,
refs BIGINT NOT NULL,
digest BLOB NOT NULL,
PRIMARY KEY (id)
);
CREATE INDEX exchanges_by_endpoint ON exchanges (endpoint, id) WHERE endpoint IS NOT NULL;
CREATE INDEX exchanges_by_session ON exchanges (session, id) WHERE session IS NOT NULL;
CREATE INDEX exchanges_by_model ON exchanges (model, id) WHERE model IS NOT NULL;
CREATE INDEX exchanges_by_client ON exchanges (client, id) WHERE client IS NOT NULL;
CREATE INDEX exchanges_by_outcome ON exchanges (outcome, id) WHERE outcome IS NOT NULL;
CREATE INDEX exchanges_by_status ON exchanges (status, id) WHERE status IS NOT NULL;
CREATE INDEX exchanges_failed ON exchanges (id) WHERE coalesce(outcome, '') IN ('error', 'truncated', 'rejected');
CREATE INDEX exchanges_failed_by_endpoint ON exchanges (endpoint, id) WHERE coalesce(outcome, '') IN ('error', 'truncated', 'rejected');
CREATE INDEX exchanges_by_endpoint_and_model ON exchanges (endpoint, model, id) WHERE endpoint IS NOT NULL AND model IS NOT NULL;
CREATE INDEX exchanges_running ON exchanges (id) WHERE outcome IS NULL;
CREATE UNIQUE INDEX pieces_by_digest ON pieces (digest);
