package simulation

// Mistake is something that a world does wrong on purpose, to show that a
// verdict notices it.
type Mistake string

const (
	ForgetsBegun    Mistake = "a ledger that does not keep what it begins"
	ForgetsPrepared Mistake = "a ledger that does not keep that an entry is prepared"
	ForgetsDocument Mistake = "a ledger that does not know a filed document"
	LosesAdvance    Mistake = "a ledger that loses a step"
	OwesNothing     Mistake = "a ledger that does not tell what is owed"
	LosesDocument   Mistake = "a repository that loses a document it has confirmed"
	CutsDocument    Mistake = "a repository that keeps half a document"
	DeniesDocument  Mistake = "a repository that does not find a document it has"
	SkipsInListing  Mistake = "a source whose cursor covers too much"
	SaysGone        Mistake = "a source that says a message is gone, which is there"
	DeliversAnother Mistake = "a source that delivers the bytes of another message"
	DeletesOnFetch  Mistake = "a source that deletes what is fetched"
	SettlesAnother  Mistake = "a source that disposes of another message"
	SettlesNothing  Mistake = "a source that confirms a disposition and does nothing"
	WakesAlways     Mistake = "a source that never ceases to tell of new mail"
)

// Mistakes lists every mistake.
func Mistakes() []Mistake {
	return []Mistake{
		ForgetsBegun, ForgetsPrepared, ForgetsDocument, LosesAdvance, OwesNothing,
		LosesDocument, CutsDocument, DeniesDocument,
		SkipsInListing, SaysGone, DeliversAnother, DeletesOnFetch, SettlesAnother, SettlesNothing, WakesAlways,
	}
}

// slips reports whether the mistake is made this time. mu is held.
func (w *world) slips(m Mistake, name string) bool {
	if w.mistake != m {
		return false
	}
	often := 0.3
	if m == WakesAlways || m == OwesNothing || m == DeniesDocument {
		often = 1
	}
	return w.dice.draw(string(m)+name).Float64() < often
}
