package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"postroom/internal/secret"
)

const hidden = "correct horse battery staple"

type account struct {
	User     string
	Password secret.Value
}

type embedded struct{ secret.Value }

type unexported struct {
	user     string
	password secret.Value
}

// shapes are the ways in which a secret may stand in what is printed.
func shapes() map[string]any {
	v := secret.New(hidden)
	return map[string]any{
		"value":             v,
		"pointer":           &v,
		"field":             account{"user", v},
		"pointer to struct": &account{"user", v},
		"embedded":          embedded{v},
		"unexported field":  unexported{"user", v},
		"slice":             []secret.Value{v},
		"map value":         map[string]secret.Value{"password": v},
		"interface":         []any{v},
		"error":             fmt.Errorf("sign in with %v: %w", v, errors.New("refused")),
	}
}

func mustHide(t *testing.T, how, printed string) {
	t.Helper()
	for _, leak := range []string{hidden, "battery", fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden), fmt.Sprint([]byte(hidden))} {
		if strings.Contains(printed, leak) {
			t.Errorf("%s prints the secret: %s", how, printed)
		}
	}
}

func TestFmt(t *testing.T) {
	for name, shape := range shapes() {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%c", "%U", "%t", "%o", "%e", "%p", "%T", "%10.3s", "%w"} {
			mustHide(t, name+" with "+verb, fmt.Sprintf(verb, shape))
		}
		mustHide(t, name+" with Sprint", fmt.Sprint(shape))
		mustHide(t, name+" with Errorf", fmt.Errorf("failed: %v", shape).Error())
	}
	v := secret.New(hidden)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, v); got != "***" {
			t.Errorf("%s prints %q, want ***", verb, got)
		}
	}
}

func TestEncodings(t *testing.T) {
	for name, shape := range shapes() {
		for format, marshal := range map[string]func(any) ([]byte, error){
			"JSON": json.Marshal, "XML": xml.Marshal, "YAML": yaml.Marshal,
		} {
			data, err := marshal(shape)
			if err != nil && format != "XML" {
				t.Errorf("%s of %s: %v", format, name, err)
			}
			mustHide(t, format+" of "+name, string(data))
		}
	}
	data, err := json.Marshal(account{"user", secret.New(hidden)})
	if want := `{"User":"user","Password":"***"}`; err != nil || string(data) != want {
		t.Errorf("JSON is %s, %v, want %s", data, err, want)
	}
}

func TestZap(t *testing.T) {
	for _, encoding := range []string{"json", "console"} {
		for name, shape := range shapes() {
			fields := []zap.Field{zap.Any("x", shape), zap.Reflect("x", shape)}
			if s, ok := shape.(fmt.Stringer); ok {
				fields = append(fields, zap.Stringer("x", s))
			}
			if err, ok := shape.(error); ok {
				fields = append(fields, zap.Error(err))
			}
			var out bytes.Buffer
			log := zap.New(zapcore.NewCore(encoder(encoding), zapcore.AddSync(&out), zap.DebugLevel))
			log.Info("printed", fields...)
			log.Sugar().Infow("printed", "x", shape)
			log.Sugar().Infof("printed %v %+v", shape, shape)
			if !strings.Contains(out.String(), "printed") {
				t.Fatalf("zap wrote nothing: %q", out.String())
			}
			mustHide(t, "zap "+encoding+" of "+name, out.String())
		}
	}
	var out bytes.Buffer
	zap.New(zapcore.NewCore(encoder("json"), zapcore.AddSync(&out), zap.DebugLevel)).
		Info("m", zap.Any("any", secret.New(hidden)), zap.Stringer("stringer", secret.New(hidden)), zap.Reflect("reflect", secret.New(hidden)))
	for _, want := range []string{`"any":"***"`, `"stringer":"***"`, `"reflect":"***"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("zap writes %s, want %s in it", out.String(), want)
		}
	}
}

func encoder(encoding string) zapcore.Encoder {
	if encoding == "json" {
		return zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	}
	return zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
}

func TestSlog(t *testing.T) {
	for name, shape := range shapes() {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("printed", "x", shape)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("printed", "x", shape)
		mustHide(t, "slog of "+name, out.String())
	}
}

func TestReveal(t *testing.T) {
	if got := secret.New(hidden).Reveal(); got != hidden {
		t.Errorf("Reveal returns %q, want %q", got, hidden)
	}
	var zero secret.Value
	if zero.Reveal() != "" || !zero.Empty() || !secret.New("").Empty() || secret.New(hidden).Empty() {
		t.Error("the zero Value and New(\"\") are not the empty secret, or another is")
	}
	if !reflect.DeepEqual(secret.New("a"), secret.New("a")) || reflect.DeepEqual(secret.New("a"), secret.New("b")) {
		t.Error("reflect.DeepEqual does not tell secrets apart")
	}
}
