package auth

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
)

// maxForm is the largest form of a token request, in bytes. Clients send about 300.
const maxForm = 16 << 10

// credential is the content of a request's login. The zero value means none.
type credential struct {
	secret    string // a password or a Bearer token that is not checked yet
	anonymous bool   // the token of clients without credentials
}

// readCredential finds the credential of a request. The error is an *oci.Error.
func readCredential(w http.ResponseWriter, r *http.Request, kind route.Kind) (credential, error) {
	given := r.Header.Values("Authorization")
	switch {
	case len(given) > 1:
		return credential{}, oci.NewError(oci.Unauthorized, "there are two Authorization headers: send one")
	case len(given) == 1:
		return readHeader(r, given[0])
	case kind == route.Token && r.Method == http.MethodPost:
		return readForm(w, r)
	}
	return credential{}, nil
}

// readHeader reads Basic, whose user name does not matter, and Bearer. Basic with
// neither user nor password comes from skopeo and podman without credentials.
func readHeader(r *http.Request, header string) (credential, error) {
	if user, password, ok := r.BasicAuth(); ok {
		return fromPassword(user, password)
	}
	scheme, token, _ := strings.Cut(header, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return credential{}, oci.NewError(oci.Unauthorized, "the Authorization header is malformed: send Basic or Bearer")
	case token == anonymousToken:
		return credential{anonymous: true}, nil
	}
	return credential{secret: token}, nil
}

// readForm reads an OAuth 2 token request (RFC 6749, sections 4.3 and 6), in which
// containerd sends its password.
func readForm(w http.ResponseWriter, r *http.Request) (credential, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return credential{}, errForm()
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return credential{}, errForm()
	}
	switch form.Get("grant_type") {
	case "password":
		return fromPassword(form.Get("username"), form.Get("password"))
	case "refresh_token":
		return fromPassword("", form.Get("refresh_token"))
	}
	return credential{}, errForm()
}

func fromPassword(user, password string) (credential, error) {
	if password == "" && user != "" {
		return credential{}, oci.NewError(oci.Unauthorized, "the password is empty: it is a token")
	}
	return credential{secret: password}, nil
}

func errForm() error {
	return oci.NewError(oci.Unauthorized, "send a form with grant_type=password, username and password, "+
		"or with grant_type=refresh_token and refresh_token; or GET with Basic")
}
