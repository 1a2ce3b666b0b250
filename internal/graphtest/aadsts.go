package graphtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// SignInFailure is a refusal of Entra.
type SignInFailure struct {
	Status int
	// Error is OAuth's: "invalid_client", ….
	Error string
	// Code is that of AADSTS, 7000215 for one.
	Code    int
	Message string
	// Suberror and Claims are sent unless they are empty.
	Suberror, Claims string
	// RetryAfter is sent as Retry-After, if it is not zero.
	RetryAfter time.Duration
	// Times is how often [Server.FailSignIn] plays it; 0 for until it is called
	// again.
	Times int
}

// The refusals that [Server.FailSignIn] is for; those that follow from what the
// client sends happen by themselves.
var (
	SignInUnavailable       = SignInFailure{Status: 503, Error: "temporarily_unavailable", Code: 90033, Message: "A transient error has occurred. Please try again."}
	SignInThrottled         = SignInFailure{Status: 429, Error: "temporarily_unavailable", Code: 90055, Message: "Server is busy. Please try again later.", RetryAfter: time.Second}
	SignInConditionalAccess = SignInFailure{Status: 400, Error: "invalid_grant", Code: 53003, Message: "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."}
	SignInUserUnknown       = SignInFailure{Status: 400, Error: "invalid_grant", Code: 50034, Message: "The user account does not exist in the directory. To sign into this application, the account must be added to the directory."}
)

// FailSignIn makes requests for tokens fail. A failure without a status ends that.
func (s *Server) FailSignIn(f SignInFailure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entra.failures = nil
	if f.Status == 0 {
		return
	}
	for range max(1, f.Times) {
		s.entra.failures = append(s.entra.failures, f)
	}
}

// failure takes the next failure that was asked for. The caller holds the mutex.
func (s *Server) failure() *SignInFailure {
	if len(s.entra.failures) == 0 {
		return nil
	}
	f := s.entra.failures[0]
	if f.Times > 0 {
		s.entra.failures = s.entra.failures[1:]
	}
	return &f
}

func signInRefused(status int, oauth string, code int, format string, args ...any) *SignInFailure {
	return &SignInFailure{Status: status, Error: oauth, Code: code, Message: fmt.Sprintf(format, args...)}
}

// answer writes the refusal in Entra's shape.
func (f *SignInFailure) answer(w http.ResponseWriter, s *Server, requestID, correlation string) {
	now := s.now().UTC()
	refusal := map[string]any{
		"error": f.Error,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", f.Code, f.Message,
			requestID, correlation, now.Format("2006-01-02 15:04:05Z")),
		"error_codes": []int{f.Code}, "timestamp": now.Format("2006-01-02 15:04:05Z"), "trace_id": requestID,
		"correlation_id": correlation, "error_uri": fmt.Sprintf("%s/error?code=%d", s.url, f.Code),
	}
	for name, value := range map[string]string{"suberror": f.Suberror, "claims": f.Claims} {
		if value != "" {
			refusal[name] = value
		}
	}
	body, err := json.Marshal(refusal)
	if err != nil {
		panic("graphtest: " + err.Error()) // strings can be encoded
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(max(1, int(f.RetryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(f.Status)
	_, _ = w.Write(body) // the client is gone then
}
