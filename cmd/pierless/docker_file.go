package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/pierless/pierless/internal/atomicfile"
	"github.com/pierless/pierless/pkg/client/login"
)

// dockerFile is docker's config.json. Fields that pierless does not know are kept.
type dockerFile struct {
	path    string
	content map[string]json.RawMessage
}

// readDockerFile reads the file; it need not exist.
func readDockerFile(path string) (*dockerFile, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays
	}
	f := &dockerFile{path, map[string]json.RawMessage{}}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(content)) == 0 {
		return f, nil
	}
	if err == nil && (json.Unmarshal(content, &f.content) != nil || f.content == nil) { // an error may repeat a part of a secret
		err = fmt.Errorf("%s is not a JSON object: correct or delete it", path)
	}
	return f, err
}

// section returns an object of the file.
func (f *dockerFile) section(name string) (map[string]json.RawMessage, error) {
	var section map[string]json.RawMessage
	if raw, found := f.content[name]; found && json.Unmarshal(raw, &section) != nil {
		return nil, fmt.Errorf("%s of %s is not a JSON object: correct or delete it", name, f.path)
	}
	if section == nil {
		section = map[string]json.RawMessage{}
	}
	return section, nil
}

// helper returns the name of the credential helper for a host; "" if there is none.
func (f *dockerFile) helper(host string) (name string, err error) {
	helpers, err := f.section("credHelpers")
	raw, found := helpers[host]
	if !found {
		raw, found = f.content["credsStore"]
	}
	if err == nil && found && json.Unmarshal(raw, &name) != nil {
		err = fmt.Errorf("%s has a credential helper that is not a string", f.path)
	}
	return name, err
}

// setLogin saves the password of a session.
func (f *dockerFile) setLogin(s login.Session) error {
	return f.set("auths", s.Host, map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(s.Username + ":" + s.Token))})
}

// setHelper makes docker ask our helper for a host.
func (f *dockerFile) setHelper(host string) error { return f.set("credHelpers", host, helperName) }

// set replaces one entry of a section, and the file.
func (f *dockerFile) set(name, key string, value any) error {
	section, err := f.section(name)
	if err != nil {
		return err
	}
	if section[key], err = json.Marshal(value); err != nil {
		return err
	}
	if f.content[name], err = json.Marshal(section); err != nil {
		return err
	}
	content, err := json.MarshalIndent(f.content, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(f.path, content)
}

// helperLogin is a login in the protocol of credential helpers.
type helperLogin struct {
	ServerURL, Username, Secret string
}

// storeInHelper gives a session to another credential helper, as 'docker login' does.
func storeInHelper(ctx context.Context, name string, s login.Session) error {
	content, err := json.Marshal(helperLogin{s.Host, s.Username, s.Token})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "store")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(content), os.Stderr
	if out, err := cmd.Output(); err != nil {
		return fmt.Errorf("docker-credential-%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
