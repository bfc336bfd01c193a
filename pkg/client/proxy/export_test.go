package proxy

import (
	"context"
	"time"
)

// Hurry makes the proxy wait for nothing.
func (p *Proxy) Hurry() {
	p.sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
}

// SetSleep sets how the proxy waits before it tries again. No request may be under way.
func (p *Proxy) SetSleep(sleep func(context.Context, time.Duration) error) { p.sleep = sleep }

// SetBodyIdle sets how long a client may send nothing. No request may be under way.
func (p *Proxy) SetBodyIdle(d time.Duration) { p.limits.Body = d }

// Expire drops the uploads that nobody has used since a moment.
func (p *Proxy) Expire(since time.Time) { p.sessions.expire(since) }

// Settle waits for what goes on behind the answers. The proxy is of no use afterwards.
func (p *Proxy) Settle() {
	p.stopped.Do(func() { close(p.stop) })
	p.behind.Wait()
}

// Small is the largest blob that is sent in one request.
const Small = small

// IdleLife is how long an upload is kept that nobody goes on with.
const IdleLife = idleLife
