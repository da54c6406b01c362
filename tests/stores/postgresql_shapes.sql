-- Shapes that real databases have, for tests of the postgresql driver: run by psql in an empty
-- database as a superuser.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE EXTENSION pgcrypto;
CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm;
CREATE SCHEMA sales;
CREATE SCHEMA "Odd schema";

-- partitions, of two kinds, one of them with partitions of its own
CREATE TABLE sales.orders (
	id bigint GENERATED ALWAYS AS IDENTITY,
	day date NOT NULL,
	customer int NOT NULL,
	amount numeric(12, 2) CHECK (amount >= 0),
	tags hstore,
	doc jsonb DEFAULT '{}',
	PRIMARY KEY (id, day, customer)
) PARTITION BY RANGE (day);
CREATE TABLE sales.orders_2024 PARTITION OF sales.orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE sales.orders_2025 PARTITION OF sales.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
	PARTITION BY HASH (customer);
CREATE TABLE sales.orders_2025_a PARTITION OF sales.orders_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sales.orders_2025_b PARTITION OF sales.orders_2025 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON sales.orders (customer);
INSERT INTO sales.orders (day, customer, amount, tags, doc)
	SELECT date '2024-01-01' + (i % 700), i % 97, i * 1.25, hstore('n', i::text),
		jsonb_build_object('n', i, 'text', repeat('x', i % 50))
	FROM generate_series(1, 5000) i;

-- references, triggers, domains, enums, generated columns, exclusion
CREATE TYPE sales.state AS ENUM ('new', 'paid', 'sent');
CREATE DOMAIN sales.mail AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE sales.customers (
	id int PRIMARY KEY,
	name text NOT NULL,
	mail sales.mail,
	state sales.state DEFAULT 'new',
	shout text GENERATED ALWAYS AS (upper(name)) STORED,
	parent int REFERENCES sales.customers DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO sales.customers (id, name, mail, state, parent)
	SELECT i, 'customer ' || i, 'c' || i || '@example.org', 'paid', NULLIF(i / 2, 0)
	FROM generate_series(1, 500) i;
CREATE TABLE sales.log (at timestamptz DEFAULT now(), what text);
CREATE FUNCTION sales.note() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
	INSERT INTO sales.log (what) VALUES (TG_OP || ' ' || NEW.name);
	RETURN NEW;
END $body$;
CREATE TRIGGER note AFTER UPDATE ON sales.customers FOR EACH ROW EXECUTE FUNCTION sales.note();
UPDATE sales.customers SET state = 'sent' WHERE id % 50 = 0;
CREATE TABLE rooms (room int, during tsrange, EXCLUDE USING gist (during WITH &&));
INSERT INTO rooms VALUES (1, '[2025-01-01, 2025-01-02)'), (2, '[2025-01-02, 2025-01-03)');

-- views, materialized ones, functions, rules, policies, comments, statistics
CREATE VIEW sales.totals AS SELECT customer, sum(amount) AS total FROM sales.orders GROUP BY 1;
CREATE MATERIALIZED VIEW sales.top AS SELECT * FROM sales.totals ORDER BY total DESC LIMIT 10;
CREATE UNIQUE INDEX ON sales.top (customer);
CREATE FUNCTION sales.discount(numeric, VARIADIC int[]) RETURNS numeric LANGUAGE sql IMMUTABLE
	AS 'SELECT $1 * 0.9';
CREATE STATISTICS sales.s ON customer, amount FROM sales.orders_2024;
COMMENT ON TABLE sales.orders IS 'It''s -- a "comment"; with \ and
two lines';
CREATE TABLE secrets (owner name, word text);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secrets USING (owner = current_user);
INSERT INTO secrets VALUES ('postgres', 'x'), ('somebody', 'y');

-- odd names, odd content, wide rows, no columns, no rows
CREATE TABLE "Odd schema"."a ""table"" with % and é." ("select" text, "new
line" int);
INSERT INTO "Odd schema"."a ""table"" with % and é."
	SELECT E'tab\t back\\ newline\n \\. -- PostgreSQL database dump complete', i FROM generate_series(1, 20) i;
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE no_rows (a int);
CREATE UNLOGGED TABLE unlogged (a int);
INSERT INTO unlogged VALUES (1), (2);
CREATE TABLE wide (id int PRIMARY KEY, body text, raw bytea);
INSERT INTO wide SELECT i, string_agg(md5(i || '-' || j), ''), decode(string_agg(md5(j || '+' || i), ''), 'hex')
	FROM generate_series(1, 50) i, generate_series(1, 300) j GROUP BY i;
CREATE SEQUENCE ticket START 100 INCREMENT 7;
SELECT nextval('ticket') FROM generate_series(1, 5) \g /dev/null

-- large objects
SELECT lo_from_bytea(0, decode(repeat(md5('lo'), 4000), 'hex')) FROM generate_series(1, 5) \g /dev/null
