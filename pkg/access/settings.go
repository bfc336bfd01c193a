package access

import (
	"encoding/json"

	"github.com/pierless/pierless/pkg/registry"
)

// maxSettings is the size of the settings as JSON, in bytes.
const maxSettings = 64 << 10

// Settings are the rules that concern no single token.
type Settings struct {
	// Anonymous are patterns of the repositories that callers without credentials may pull.
	Anonymous []string `json:"anonymous"`
	// Logins say who gets a token for the proof of an identity.
	Logins []Rule `json:"logins"`

	// Version identifies the last change; "" before the first one.
	Version string `json:"-"`
}

func settingsOf(row registry.Row) (Settings, error) {
	settings := Settings{Anonymous: []string{}, Logins: []Rule{}} // lists in JSON, not null
	if row.Attrs != nil {
		stored, _, err := decode[Settings](row)
		if err != nil {
			return settings, err
		}
		settings.Anonymous, settings.Logins = append(settings.Anonymous, stored.Anonymous...), append(settings.Logins, stored.Logins...)
	}
	settings.Version, _ = row.Attrs[registry.AttrVersion].(string)
	return settings, nil
}

// Check returns an *oci.Error for settings that are malformed, too large or unsafe.
func (s Settings) Check() error {
	for _, pattern := range s.Anonymous {
		if err := CheckPattern(pattern); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for _, rule := range s.Logins {
		if err := rule.check(); err != nil {
			return err
		}
		if names[rule.Name] {
			return errInvalid("two login rules have the name %q", rule.Name)
		}
		names[rule.Name] = true
	}
	if b, err := json.Marshal(s); err != nil || len(b) > maxSettings {
		return errInvalid("the settings have %d bytes: at most %d are allowed", len(b), maxSettings)
	}
	return nil
}
