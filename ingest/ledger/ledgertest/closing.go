package ledgertest

import "postroom/ingest/ledger"

var closeTests = []test{
	{"closed ledger refuses everything", func(f *fixture) {
		l := f.lease("s", "inbox")
		e := f.at(l, "1", ledger.Begun)
		f.ok(f.l.Close())
		f.ok(f.l.Close())
		ctx := f.Context()
		var errs [15]error
		_, errs[0] = f.l.Lease(ctx, "s", "other", ttl)
		_, errs[1] = f.l.Entry(ctx, "s", "inbox", "1")
		_, errs[2] = f.l.Document(ctx, "doc")
		_, errs[3] = f.l.Count(ctx, "")
		_, errs[4] = f.l.Rename(ctx, "s", "t")
		for _, errs[5] = range f.l.Entries(ctx, ledger.Query{}) {
		}
		_, errs[6] = l.Begin(ctx, []ledger.Listed{{Key: "2"}})
		_, errs[7] = l.Prepare(ctx, e)
		errs[8] = l.Advance(ctx, e)
		errs[9] = l.Renew(ctx)
		for _, errs[10] = range f.l.Documents(ctx, ledger.DocumentQuery{}) {
		}
		_, errs[11] = f.l.Discarded(ctx, "s", [32]byte{1})
		errs[12] = f.l.Forget(ctx, ledger.Document{ID: "doc", Source: "s"})
		errs[13] = f.l.Refile(ctx, ledger.Document{ID: "doc", Source: "s"})
		errs[14] = f.l.Refiled(ctx, ledger.Document{ID: "doc", Source: "s"})
		for i, err := range errs {
			if err == nil {
				f.Errorf("method %d returns no error", i)
			}
		}
		f.ok(l.Release(ctx))
		f.reopen()
	}},
}
