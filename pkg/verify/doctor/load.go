package doctor

import (
	"net/http"
	"sync"
	"time"

	"github.com/pierless/pierless/pkg/verify"
)

// atOnce is the number of simultaneous requests: twice the concurrent executions of a
// new AWS account.
const atOnce = 20

// concurrency sends GET /v2/ many times at once. All functions share the account's
// concurrent executions, so that one route is enough. Behind an HTTP API a throttled
// invocation is a 500 or 503 of the gateway, behind a function URL a 429.
func (v *visit) concurrency() verify.Result {
	replies := make([]*verify.Reply, atOnce)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = v.get("/v2/") })
	}
	wg.Wait()
	took := time.Since(start)
	refused := 0
	var fault, lost *verify.Reply
	for _, r := range replies {
		switch {
		case r.Status == 0:
			lost = r
		case r.Status >= 500 || r.Status == http.StatusTooManyRequests:
			refused++
			fault = r
		}
	}
	switch {
	case fault != nil && gatewaySays(fault) == "Too Many Requests":
		return wrong(fault, "parameters ThrottleRate and ThrottleBurst (requests per second and burst of the stage)",
			"%d of %d simultaneous requests were throttled by the stage", refused, atOnce)
	case fault != nil:
		return wrong(fault, "a higher quota of concurrent executions: 'aws lambda get-account-settings' shows it (AccountLimit.ConcurrentExecutions, "+
			"10 in a new account); request 1000 in Service Quotas (Lambda, L-B99A9384). Then parameter ReservedConcurrency: 0, its default, or more than this",
			"%d of %d simultaneous requests failed, for example: %s", refused, atOnce, fault)
	case lost != nil:
		return unknown(lost, "%s", lost)
	}
	return ok("%d simultaneous requests answered in %s", atOnce, took.Round(time.Millisecond))
}
