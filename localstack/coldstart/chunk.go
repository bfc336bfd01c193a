package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// chunkSize is the chunk size that the registry recommends; 4.5 MiB is the maximum.
const chunkSize = 4 << 20

// chunks is the result of an upload in chunks through one function.
type chunks struct {
	Chunks  int
	Each    []time.Duration
	PeakRSS int64 // bytes
}

// reply has the relevant fields of a function's response.
type reply struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

// sendChunks sends n chunks through the uploads function, which needs S3 and DynamoDB,
// and cancels the upload.
func sendChunks(binary string, environment []string, token string, n int) (chunks, error) {
	s, err := launch(binary, environment)
	if err != nil {
		return chunks{}, err
	}
	took, err := s.sendChunks(token, n)
	took.PeakRSS = s.end().PeakRSS
	return took, err
}

func (s *session) sendChunks(token string, n int) (chunks, error) {
	opened, err := s.exchange(event(http.MethodPost, "/v2/cold/start/blobs/uploads/", token, nil), http.StatusAccepted)
	if err != nil {
		return chunks{}, err
	}
	content := make([]byte, chunkSize)
	_, _ = rand.Read(content) // documented never to fail
	took := chunks{Chunks: n}
	for range n {
		began := time.Now()
		if _, err := s.exchange(event(http.MethodPatch, opened.Headers["Location"], "", content), http.StatusAccepted); err != nil {
			return chunks{}, err
		}
		took.Each = append(took.Each, time.Since(began))
	}
	_, err = s.exchange(event(http.MethodDelete, opened.Headers["Location"], "", nil), http.StatusNoContent)
	return took, err
}

func (s *session) exchange(event []byte, status int) (reply, error) {
	b, err := s.send(event)
	if err != nil {
		return reply{}, err
	}
	var r reply
	if err := json.Unmarshal(b, &r); err != nil {
		return reply{}, fmt.Errorf("the response is not JSON: %w", err)
	}
	if r.StatusCode != status {
		return r, fmt.Errorf("status %d, want %d: %s %s", r.StatusCode, status, r.Body, s.log)
	}
	return r, nil
}

// event returns the API Gateway event of a request.
func event(method, path, token string, body []byte) []byte {
	headers := map[string]string{"host": "127.0.0.1", "accept": "*/*"}
	if token != "" {
		headers["authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+token))
	}
	if body != nil {
		headers["content-type"] = "application/octet-stream"
	}
	b, err := json.Marshal(map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
		"requestContext": map[string]any{
			"stage": "$default", "requestId": "cold", "domainName": "127.0.0.1",
			"http": map[string]string{"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
		},
		"body": base64.StdEncoding.EncodeToString(body), "isBase64Encoded": true,
	})
	if err != nil {
		panic(err) // maps of strings
	}
	return b
}
