// Package login gets tokens from a registry of Pierless for the proof of an identity, and keeps
// them between processes.
//
// It must not know AWS, or the formats of docker and the kubelet. It reads no environment variables
// by itself.
package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pierless/pierless/pkg/access"
	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/oci/route"
)

// Username is the user name of a token: the registry ignores it, and clients need one.
const Username = "pierless"

// ErrNone means that this process has no identity that it could prove.
var ErrNone = errors.New("there is no proof of an identity: GitHub Actions needs 'id-token: write', other systems " +
	"PIERLESS_ID_TOKEN or PIERLESS_ID_TOKEN_FILE, and AWS needs credentials")

// Source makes proofs of one kind.
type Source struct {
	Name string // for messages
	// Prove proves the identity of this process to a registry at host[:port]. The error is
	// ErrNone if it has no identity of this kind. No error contains a secret.
	Prove func(ctx context.Context, host string) (access.Proof, error)
}

// Session is a token for a registry.
type Session struct {
	Host     string `json:"host"` // host[:port]
	Username string `json:"username"`
	Token    string `json:"token"`
	// Name is that of the token at the registry; "" if it is unknown.
	Name string `json:"name,omitempty"`
	// Issued and Expires are times of this machine's clock; zero if they are unknown.
	Issued  time.Time `json:"issued,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

// fresh reports whether less than half of the session's life has passed.
func (s Session) fresh(now time.Time) bool {
	return s.Expires.IsZero() || !now.Before(s.Issued) && now.Before(s.Issued.Add(s.Expires.Sub(s.Issued)/2))
}

// alive reports whether the session has not expired.
func (s Session) alive(now time.Time) bool { return s.Expires.IsZero() || now.Before(s.Expires) }

// Login exchanges a proof for a token. It tries the sources in their order, until the registry
// accepts a proof. The error is ErrNone if no source has an identity.
func Login(ctx context.Context, c *client.Client, sources ...Source) (Session, error) {
	none, failed := ErrNone, []error{}
	for _, source := range sources {
		s, next, err := source.login(ctx, c)
		switch {
		case err == nil:
			return s, nil
		case !next:
			return Session{}, err
		case errors.Is(err, ErrNone):
			none = err
		default:
			failed = append(failed, fmt.Errorf("%s: %w", source.Name, err))
		}
	}
	if len(failed) == 0 {
		return Session{}, none
	}
	return Session{}, errors.Join(failed...)
}

// proofAttempts limits the proofs of one source for one login.
const proofAttempts = 3

// login tries one source. next reports whether another one may succeed. The registry answers 409 to
// a proof that was used: by a process that made the same one, or by a request whose answer was lost.
func (source Source) login(ctx context.Context, c *client.Client) (s Session, next bool, err error) {
	host := strings.TrimSuffix(c.Host(), ":443") // as the registry names itself
	for attempt := 1; ; attempt++ {
		proof, err := source.Prove(ctx, host)
		if err != nil {
			return Session{}, ctx.Err() == nil, err
		}
		s, err := exchange(ctx, c, proof)
		answer, _ := errors.AsType[*client.Error](err)
		switch {
		case answer == nil:
			return s, false, err
		case answer.Status != http.StatusConflict || attempt == proofAttempts:
			return s, slices.Contains([]int{
				http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict,
			}, answer.Status), err
		}
	}
}

func exchange(ctx context.Context, c *client.Client, proof access.Proof) (Session, error) {
	var issued access.Issued
	asked := time.Now()
	_, err := c.Call(ctx, client.Call{Method: http.MethodPost, Kind: route.Login, Body: proof, Answer: &issued, Proof: true})
	if err != nil {
		return Session{}, err
	}
	life := issued.Token.Expires.Sub(issued.Token.Created)
	if !access.WellFormed(issued.Secret) || issued.Token.Expires.IsZero() || life <= 0 {
		return Session{}, fmt.Errorf("the registry %s answered the login without a token", c.Host())
	}
	return Session{
		Host: c.Host(), Username: Username, Token: issued.Secret, Name: issued.Token.Name, Issued: asked, Expires: asked.Add(life),
	}, nil
}
