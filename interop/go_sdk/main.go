// Sends log records with the Go OpenTelemetry SDK until its standard input ends, one export of ten records after the
// other, over gRPC in plaintext. Prints the number of each record whose export succeeded, a line each, and each error
// as a line that begins with "error".
//
// Usage: go_sdk HOST:PORT
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
)

const perExport = 10

// numbered wraps the exporter, and prints the numbers of what it delivered.
type numbered struct {
	sdklog.Exporter
	out *bufio.Writer
}

func (n numbered) Export(ctx context.Context, records []sdklog.Record) error {
	err := n.Exporter.Export(ctx, records)
	if err != nil {
		fmt.Fprintf(n.out, "error %v\n", err)
	} else {
		for _, record := range records {
			fmt.Fprintln(n.out, record.Body().AsInt64())
		}
	}
	n.out.Flush()
	return err
}

func main() {
	ctx := context.Background()
	grpc, err := otlploggrpc.New(ctx, otlploggrpc.WithEndpoint(os.Args[1]), otlploggrpc.WithInsecure())
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	processor := sdklog.NewBatchProcessor(numbered{grpc, bufio.NewWriter(os.Stdout)}, sdklog.WithExportInterval(time.Hour))
	logger := sdklog.NewLoggerProvider(sdklog.WithProcessor(processor)).Logger("go_sdk")
	for number := int64(0); ; number += perExport {
		for i := range int64(perExport) {
			var record log.Record
			record.SetTimestamp(time.Now())
			record.SetBody(log.Int64Value(number + i))
			logger.Emit(ctx, record)
		}
		_ = processor.ForceFlush(ctx)
		select {
		case <-ended:
			_ = processor.Shutdown(ctx)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
