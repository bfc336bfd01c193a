package faultproxy

import (
	"net/http"
	"strings"
	"time"
)

// maxSkew is the difference between the clocks of a caller and of AWS from which on AWS refuses a
// request.
const maxSkew = 15 * time.Minute

// timeFormat is that of X-Amz-Date.
const timeFormat = "20060102T150405Z"

// SetClock moves the clock of AWS by ahead, and turns on its checks of the times in requests.
func (p *Proxy) SetClock(ahead time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock = &ahead
}

// now is the time of AWS, and zero without SetClock.
func (p *Proxy) now() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clock == nil {
		return time.Time{}
	}
	return time.Now().Add(*p.clock).UTC()
}

// skewed returns AWS's answer to a request whose time is too far from its clock, or nil. A presigned
// request is also valid before its end, however long ago it was signed.
func (p *Proxy) skewed(r *http.Request) *response {
	now := p.now()
	if now.IsZero() {
		return nil
	}
	refuse := func(status int, dynamoCode, s3Code string) *response {
		code, dynamo := s3Code, strings.HasPrefix(r.Header.Get("X-Amz-Target"), dynamoTarget)
		c := Call{}
		if dynamo {
			code, c.Operation = dynamoCode, "GetItem"
			status = http.StatusBadRequest
		}
		answer := Fault{Status: status, Code: code}.refusal(c)
		answer.header.Set("Date", now.Format(http.TimeFormat))
		return &answer
	}
	if query := r.URL.Query(); query.Has("X-Amz-Date") {
		signed, err := time.Parse(timeFormat, query.Get("X-Amz-Date"))
		life, lifeErr := time.ParseDuration(query.Get("X-Amz-Expires") + "s")
		if err != nil || lifeErr != nil || signed.After(now.Add(maxSkew)) || now.After(signed.Add(life)) {
			return refuse(http.StatusForbidden, "", "AccessDenied")
		}
		return nil
	}
	signed, err := time.Parse(timeFormat, r.Header.Get("X-Amz-Date"))
	if err != nil || signed.Sub(now).Abs() > maxSkew {
		return refuse(http.StatusForbidden, "InvalidSignatureException", "RequestTimeTooSkewed")
	}
	return nil
}
