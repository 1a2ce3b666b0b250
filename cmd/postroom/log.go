package main

import (
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"postroom/cmd/postroom/config"
)

// newLog returns the log that settings and configuration ask for, and what
// closes it. Lines for standard error go to errs.
func (s *settings) newLog(c config.Log, errs io.Writer) (*zap.Logger, func() error, error) {
	// The file's values were read strictly; flags and environment stand above.
	if err := s.viper.MergeConfigMap(map[string]any{"log": map[string]any{
		"level": c.Level, "format": c.Format, "file": c.File,
	}}); err != nil {
		return nil, nil, fmt.Errorf("merge log settings: %w", err)
	}
	level, err := zapcore.ParseLevel(s.viper.GetString("log.level"))
	if err != nil {
		return nil, nil, usage("log level %q is none; allowed: debug, info, warn, error", s.viper.GetString("log.level"))
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
		return nil, nil, usage("log format %q is none; allowed: text, json", format)
	}
	closeFile := func() error { return nil }
	out := zapcore.AddSync(errs)
	if name := s.viper.GetString("log.file"); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, nil, failed(fmt.Errorf("open log: %w", err))
		}
		out, closeFile = f, f.Close
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(out), level)
	return zap.New(core, zap.ErrorOutput(zapcore.Lock(zapcore.AddSync(errs)))), closeFile, nil
}
