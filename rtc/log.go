package rtc

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// stackLog takes what the stack logs, for Options.Log; without one it drops it. It implements logging.LoggerFactory and logging.LeveledLogger.
type stackLog struct {
	log   *slog.Logger
	scope string
}

// NewLogger implements logging.LoggerFactory. Peers share the one that drops.
func (l *stackLog) NewLogger(scope string) logging.LeveledLogger {
	if l.log == nil {
		return l
	}
	return &stackLog{l.log, scope}
}

func (l *stackLog) at(level slog.Level, text string) {
	l.log.Log(context.Background(), level, "rtc: "+text, "part", l.scope)
}

// The stack's errors are ours to judge: most are a peer's, or follow from a close. They are logged as warnings at most.

// Trace drops.
func (l *stackLog) Trace(string) {}

// Tracef drops.
func (l *stackLog) Tracef(string, ...any) {}

// Debug drops.
func (l *stackLog) Debug(string) {}

// Debugf drops.
func (l *stackLog) Debugf(string, ...any) {}

// Info logs at the level debug.
func (l *stackLog) Info(text string) { l.some(slog.LevelDebug, text) }

// Infof logs at the level debug.
func (l *stackLog) Infof(format string, args ...any) { l.some(slog.LevelDebug, format, args...) }

// Warn logs at the level info.
func (l *stackLog) Warn(text string) { l.some(slog.LevelInfo, text) }

// Warnf logs at the level info.
func (l *stackLog) Warnf(format string, args ...any) { l.some(slog.LevelInfo, format, args...) }

// Error logs at the level warn.
func (l *stackLog) Error(text string) { l.some(slog.LevelWarn, text) }

// Errorf logs at the level warn.
func (l *stackLog) Errorf(format string, args ...any) { l.some(slog.LevelWarn, format, args...) }

func (l *stackLog) some(level slog.Level, format string, args ...any) {
	if l.log == nil || !l.log.Enabled(context.Background(), level) {
		return
	}
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	l.at(level, format)
}
