CREATE UNIQUE INDEX transactions_user ON public.transactions USING btree (user_id, id, currency) INCLUDE (kind, state);
CREATE UNIQUE INDEX transactions_idempotency ON public.transactions USING btree (idempotency_key, user_id) WHERE (idempotency_key IS NOT NULL);
CREATE UNIQUE INDEX transactions_provider ON public.transactions USING btree (provider_id) WHERE (provider_id IS NOT NULL);
CREATE INDEX transactions_parent ON public.transactions USING btree (parent_id) WHERE (parent_id IS NOT NULL);
CREATE INDEX transactions_due ON public.transactions USING btree (kind, due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX transactions_held ON public.transactions USING btree (id) WHERE (held_reason IS NOT NULL);
CREATE INDEX transactions_kind ON public.transactions USING btree (kind, id) WHERE (kind <> 'deposit'::text);
CREATE INDEX transactions_state ON public.transactions USING btree (state, id) WHERE (state <> 'completed'::text);
CREATE INDEX transactions_words ON public.transactions USING gin (words) WITH (fastupdate=off) WHERE (words IS NOT NULL);
