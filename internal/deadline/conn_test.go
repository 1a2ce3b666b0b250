package deadline_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroom/internal/deadline"
)

func pair(t *testing.T, limits deadline.Limits) (*deadline.Conn, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	conn, err := deadline.New(near, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		far.Close()
	})
	return conn, far
}

func TestReadFailsWhenAnAnswerIsDueAndNothingArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Minute})
		start := time.Now()
		_, err := conn.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Fatalf("got %v after %v", err, time.Since(start))
		}
		if !strings.Contains(err.Error(), "no answer for 1m0s") {
			t.Errorf("error does not say how long: %v", err)
		}
		if conn.Cause() == nil {
			t.Error("the cause is lost")
		}
		again := time.Now()
		if _, second := conn.Read(make([]byte, 1)); second == nil || time.Since(again) != 0 {
			t.Errorf("a second read returns %v after %v", second, time.Since(again))
		}
	})
}

func TestSlowTransferLivesAsLongAsItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, far := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Minute})
		go func() {
			for range 20 {
				time.Sleep(50 * time.Second)
				far.Write([]byte("x"))
			}
		}()
		// A library's own absolute deadline has no effect.
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNoDeadlineWhileNothingIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, far := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Minute})
		if err := conn.End(); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Hour)
			far.Write([]byte("x"))
		}()
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBeginReachesAReadThatIsWaitingAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Minute})
		if err := conn.End(); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		if err := conn.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestWriteFailsWhenThePeerDoesNotTakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Second})
		if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestEndOfStreamIsUnexpected(t *testing.T) {
	conn, far := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Minute})
	if err := conn.End(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
}

func TestAnswerIsBounded(t *testing.T) {
	conn, far := pair(t, deadline.Limits{Silence: time.Minute, Write: time.Minute, Answer: 10})
	go far.Write(make([]byte, 100))
	if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	conn.Allow(20)
	if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, deadline.ErrTooMuch) {
		t.Fatal(err)
	}
}
