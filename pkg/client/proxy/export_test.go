package proxy

import (
	"context"
	"time"
)

// Hurry removes the pauses between tries.
func (p *Proxy) Hurry() {
	p.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
}

// SetSleep replaces the pauses between tries. No request may be in progress.
func (p *Proxy) SetSleep(sleep func(context.Context, time.Duration) error) { p.sleep = sleep }

// SetBodyIdle sets the time after which a stalled client fails. No request may be in progress.
func (p *Proxy) SetBodyIdle(d time.Duration) { p.limits.Body = d }

// Expire discards the uploads without requests since a moment.
func (p *Proxy) Expire(since time.Time) { p.sessions.expire(since) }

// Settle waits for the work after answers. It stops the expiry of uploads.
func (p *Proxy) Settle() {
	p.stop()
	p.behind.Wait()
}

// Small is the largest blob that is sent in one request.
const Small = small

// IdleLife is how long an upload is kept without requests.
const IdleLife = idleLife
