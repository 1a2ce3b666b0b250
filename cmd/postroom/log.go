package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"postroom/cmd/postroom/config"
)

// logbook is the log, and the file that it is written to, if it is one.
type logbook struct {
	*zap.Logger
	file *logFile // nil: standard error
}

// reopen opens the log's file anew, which somebody may have renamed to begin
// another.
func (l *logbook) reopen() error {
	if l.file == nil {
		return nil
	}
	return l.file.reopen()
}

func (l *logbook) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.close()
}

// openLog returns the log of a command that writes state: it writes it as the
// owner of the state, so that a daemon can go on with the file. Lines for
// standard error go to errs.
func (s *settings) openLog(c *config.Config, errs io.Writer) (*logbook, error) {
	if err := adoptState(c); err != nil {
		return nil, err
	}
	return s.newLog(c, errs)
}

// newLog returns the log that settings and configuration ask for. Lines for
// standard error go to errs.
func (s *settings) newLog(c *config.Config, errs io.Writer) (*logbook, error) {
	name, err := s.logFile(c)
	if err != nil {
		return nil, err
	}
	level, err := zapcore.ParseLevel(s.viper.GetString("log.level"))
	if err != nil {
		return nil, usage("log level %q is none; allowed: debug, info, warn, error", s.viper.GetString("log.level"))
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	var encoder zapcore.Encoder
	switch format := s.viper.GetString("log.format"); format {
	case "json":
		encoder = zapcore.NewJSONEncoder(enc)
	case "text":
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		enc.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(enc)
	default:
		return nil, usage("log format %q is none; allowed: text, json", format)
	}
	l := &logbook{}
	out := zapcore.Lock(zapcore.AddSync(errs))
	if name != "" {
		l.file = &logFile{name: name}
		if err := l.file.reopen(); err != nil {
			return nil, failed(explained(place{key: "log.file", path: name}.explain(err)))
		}
		out = l.file
	}
	l.Logger = zap.New(zapcore.NewCore(encoder, out, level), zap.ErrorOutput(zapcore.Lock(zapcore.AddSync(errs))))
	return l, nil
}

// logFile merges the settings of the log, and returns the absolute path of the
// file that is logged to, or "". One that is something else to postroom is
// refused, whoever named it.
func (s *settings) logFile(c *config.Config) (string, error) {
	// The file's values were read strictly; flags and environment stand above.
	if err := s.viper.MergeConfigMap(map[string]any{"log": map[string]any{
		"level": c.Log.Level, "format": c.Log.Format, "file": c.Log.File,
	}}); err != nil {
		return "", fmt.Errorf("merge log settings: %w", err)
	}
	name := s.viper.GetString("log.file")
	if name == "" {
		return "", nil
	}
	name, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("find the log's file: %w", err)
	}
	if err := c.CheckLog(name); err != nil {
		return "", usage("log file %s %w; choose a file of its own, with --log-file or POSTROOM_LOG_FILE", name, err)
	}
	return name, nil
}

// logFile is a file that a log is appended to.
type logFile struct {
	name string

	mu   sync.Mutex
	file *os.File
}

func openLogFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// reopen opens the file of the name. If it cannot, what is open stays in use.
func (l *logFile) reopen() error {
	f, err := openLogFile(l.name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	before := l.file
	l.file = f
	l.mu.Unlock()
	if before == nil {
		return nil
	}
	return before.Close()
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(b)
}

func (l *logFile) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Sync()
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.file.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return err
}
