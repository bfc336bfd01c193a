package lambdahttp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

func addEvents(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no events in testdata")
	}
	for _, file := range files {
		event, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(event)
	}
	for _, s := range []string{
		``, `null`, `{}`, `{"body":"x"`, `{"body":"a\u0041"}`, `{"body":"a","body":"b"}`, `{"Body":"a","body":"b"}`, `{"b\u006fdy":"x","body":"y"}`,
		`{"a":{"body":"x"},"body":"y"}`, `{"body":"ä"}`, `{"a":"\\","body":"x"}`, `{"a":"body","body":"x"}`, `{"body":{"body":"x"}}`,
		`{"body" : "QQ==" , "version":"2.0"}`, `{"body":"x","requestContext":{"http":{"method":"GET"}},"version":"2.0","rawPath":"?#%\n"}`,
		`}{"body":"x"`, `]"body":"x"`, `{"body":"x"}}`, "{\"body\":\"\x01\"}", `{"bodY":"a","version":"2.0"}`, `{"body":""}`, `{"body":null,"body":"x"}`,
		`{"ﬀ":1,"body":"x"}`, `{"body":["x"],"a":"b"}`, `{"body"::"x"}`, `{"body":"x":"y"}`,
	} {
		f.Add([]byte(s))
	}
}

// FuzzInvoke: whatever comes in, a valid answer goes out, and the path is never
// decoded again.
func FuzzInvoke(f *testing.F) {
	addEvents(f)
	log.SetOutput(io.Discard)
	slog.SetDefault(slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, payload []byte) {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name, values := range r.Header {
				for _, v := range values {
					w.Header().Add(name, v)
				}
			}
			var event events.APIGatewayV2HTTPRequest
			if json.Unmarshal(payload, &event) == nil && event.RequestContext.Stage == "" && strings.HasPrefix(event.RawPath, "/") && r.URL.Path != event.RawPath {
				t.Errorf("path %q of an event with %q", r.URL.Path, event.RawPath)
			}
			w.Header().Del("Content-Length")
			_, _ = io.Copy(w, r.Body)
		})
		out, err := New(h, func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, "", asFault(err).Status) }).Invoke(context.Background(), payload)
		if err != nil {
			t.Fatal(err)
		}
		var a events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(out, &a); err != nil {
			t.Fatal(err)
		}
		if a.StatusCode < 100 || a.StatusCode > 599 {
			t.Errorf("status %d", a.StatusCode)
		}
		for name, value := range a.Headers {
			if strings.ContainsAny(name+value, "\r\n") {
				t.Errorf("header %q: %q", name, value)
			}
		}
		if _, err := base64.StdEncoding.DecodeString(a.Body); a.IsBase64Encoded && err != nil {
			t.Error(err)
		}
	})
}

// FuzzDecode: taking the body out first changes nothing that encoding/json would say.
func FuzzDecode(f *testing.F) {
	addEvents(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		var want, got events.APIGatewayV2HTTPRequest
		wantErr, gotErr := json.Unmarshal(payload, &want), decode(payload, &got)
		if (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("%v, encoding/json: %v", gotErr, wantErr)
		}
		if wantErr == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, encoding/json: %+v", got, want)
		}
	})
}

// BenchmarkChunk is the largest request that fits through Lambda, nearly.
func BenchmarkChunk(b *testing.B) {
	event := events.APIGatewayV2HTTPRequest{Version: "2.0", RawPath: "/v2/a/blobs/uploads/x", IsBase64Encoded: true}
	event.RequestContext.HTTP.Method = "PATCH"
	event.Body = base64.StdEncoding.EncodeToString(make([]byte, 4<<20))
	payload, err := json.Marshal(event)
	if err != nil {
		b.Fatal(err)
	}
	drain := New(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, "", asFault(err).Status) })
	b.Run("invoke", func(b *testing.B) {
		b.SetBytes(4 << 20)
		b.ReportAllocs()
		for range b.N {
			_, _ = drain.Invoke(context.Background(), payload)
		}
	})
	b.Run("encoding-json-alone", func(b *testing.B) {
		b.SetBytes(4 << 20)
		for range b.N {
			var event events.APIGatewayV2HTTPRequest
			_ = json.Unmarshal(payload, &event)
		}
	})
}
