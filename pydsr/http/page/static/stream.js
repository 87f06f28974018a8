// The connection to the daemon, renewed whenever it is lost.

const RETRY_MILLISECONDS = 2000;
// The daemon sends a message at least every five seconds.
const SILENCE_MILLISECONDS = 15000;
const HIDDEN_MILLISECONDS = 30000;

/** Receives messages from the daemon, and reports when the connection is lost. */
export class Stream {
  /**
   * @param {Object<string, function(any, boolean)>} handlers by kind of message; the second argument
   *   is true for the first of its kind on a connection
   * @param {function(boolean)} onChange called with whether the page is connected
   */
  constructor(handlers, onChange) {
    this.handlers = handlers;
    this.onChange = onChange;
    this.source = null;
    this.timer = null;
    document.addEventListener("visibilitychange", () => this.follow(document.hidden));
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = this.source = new EventSource("/api/stream");
    for (const [kind, handle] of Object.entries({ alive() {}, ...this.handlers })) {
      let isFirst = true;
      source.addEventListener(kind, (message) => {
        this.expectMore();
        this.onChange(true);
        handle(JSON.parse(message.data), isFirst);
        isFirst = false;
      });
    }
    source.onerror = () => this.lose();
    this.expectMore();
  }

  /** Treat the connection as lost if no further message arrives. */
  expectMore() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.lose(), SILENCE_MILLISECONDS);
  }

  lose() {
    this.source?.close();
    this.source = null;
    this.onChange(false);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), RETRY_MILLISECONDS);
  }

  /** Disconnect while nobody can see the page. */
  follow(isHidden) {
    clearTimeout(this.hiding);
    if (isHidden) {
      this.hiding = setTimeout(() => {
        clearTimeout(this.timer);
        this.source?.close();
        this.source = null;
      }, HIDDEN_MILLISECONDS);
    } else if (this.source === null) {
      this.open();
    }
  }
}
