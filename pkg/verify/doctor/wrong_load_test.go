package doctor_test

import (
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// wrongLoad are deployments that refuse simultaneous or chunked requests.
func wrongLoad() []wrongRegistry {
	const quota, stage = "L-B99A9384", "ThrottleBurst"
	chunked := func(r *http.Request) bool { return r.Method == http.MethodPatch && r.ContentLength < 0 }
	return []wrongRegistry{
		{"ten concurrent executions", map[string]string{"concurrency": quota}, executions(10, http.StatusServiceUnavailable, "Service Unavailable")},
		{"ten concurrent executions, as 500", map[string]string{"concurrency": quota}, executions(10, http.StatusInternalServerError, "Internal Server Error")},
		{"ten concurrent executions of a function URL", map[string]string{"concurrency": quota}, executions(10, http.StatusTooManyRequests, "Rate Exceeded.")},
		{"a stage that throttles", map[string]string{"concurrency": stage}, executions(15, http.StatusTooManyRequests, "Too Many Requests")},
		{"chunked requests refused", map[string]string{"body-chunked": "Transfer-Encoding"}, func(_ *cloud, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if chunked(r) {
					_, _ = io.Copy(io.Discard, r.Body)
					gatewayFault(w, http.StatusLengthRequired, "Length Required")
					return
				}
				next.ServeHTTP(w, r)
			})
		}},
		{"chunked bodies lost", map[string]string{"body-chunked": "must arrive unchanged"}, func(_ *cloud, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if chunked(r) {
					_, _ = io.Copy(io.Discard, r.Body)
					r.Body, r.ContentLength = http.NoBody, 0
				}
				next.ServeHTTP(w, r)
			})
		}},
	}
}

// executions refuses requests beyond n at once. Requests to /v2/ take the time of a cold
// start until one is refused, so that simultaneous ones overlap.
func executions(n int64, status int, message string) wrap {
	return func(_ *cloud, next http.Handler) http.Handler {
		var running atomic.Int64
		var once sync.Once
		refused := make(chan struct{})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer running.Add(-1)
			switch now := running.Add(1); {
			case now > n:
				once.Do(func() { close(refused) })
				gatewayFault(w, status, message)
				return
			case r.URL.Path == "/v2/":
				select {
				case <-refused:
				case <-time.After(250 * time.Millisecond):
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}
