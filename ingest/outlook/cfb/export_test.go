package cfb

// SetLimit makes the greatest size of a file smaller.
func (w *Writer) SetLimit(n int64) { w.limit = n }
