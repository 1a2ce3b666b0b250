package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"postroom/store"
)

func testOpenFile(t *testing.T, open func(t *testing.T) Harness) {
	h := open(t)
	r := h.Open(t)
	reader, ok := r.(store.Reader)
	if !ok {
		closeRepository(t, r)
		return // the ability is optional
	}
	ctx := context.Background()
	d := NewDocument("read back")
	large := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	d.Files = append(d.Files, NewFile("scan.pdf", store.RoleAttachment, large), NewFile("empty.txt", store.RoleAttachment, nil))
	receipt := put(t, r, d)
	stored := h.List(t)[receipt.Location]
	for _, f := range d.Files {
		in, err := reader.OpenFile(ctx, receipt.Location, f.Name)
		if err != nil {
			t.Errorf("OpenFile: %v", err)
			continue
		}
		got, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil || !bytes.Equal(got, stored.Files[f.Name]) {
			t.Errorf("%s: %d bytes, %v", f.Name, len(got), err)
		}
	}
	for _, at := range [][2]string{
		{receipt.Location, "none.pdf"}, {receipt.Location, ""}, {receipt.Location, "."}, {receipt.Location, "../" + d.Files[0].Name},
		{receipt.Location + "x", "scan.pdf"}, {"", "scan.pdf"}, {".", "scan.pdf"}, {"..", "scan.pdf"},
	} {
		if in, err := reader.OpenFile(ctx, at[0], at[1]); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("OpenFile(%q, %q): %v, want ErrNotFound", at[0], at[1], err)
			if err == nil {
				in.Close()
			}
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := reader.OpenFile(ended, receipt.Location, "scan.pdf"); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenFile with an ended context: %v", err)
	}

	if remover, ok := r.(store.Remover); ok {
		in, err := reader.OpenFile(ctx, receipt.Location, "scan.pdf")
		if err != nil {
			t.Fatal(err)
		}
		if err := remover.Remove(ctx, d.ID, receipt.Location); err == nil {
			if got, err := io.ReadAll(in); err == nil && !bytes.Equal(got, large) {
				t.Errorf("after its removal an open file has %d other bytes", len(got))
			}
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	closeRepository(t, r)
	if _, err := reader.OpenFile(ctx, receipt.Location, "scan.pdf"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("OpenFile after Close: %v, want an error other than ErrNotFound", err)
	}
}
