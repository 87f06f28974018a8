// The connection to the daemon: it is made again whenever it is lost.

const RETRY_MILLISECONDS = 2000;
// The daemon says at least every five seconds that it is there.
const SILENCE_MILLISECONDS = 15000;
const HIDDEN_MILLISECONDS = 30000;

/** Hears the daemon, and says when it does not. */
export class Stream {
  /**
   * @param {Object<string, function(any, boolean)>} handlers by the kind of message; they are told
   *   whether it is the first of its kind since the connection was made
   * @param {function(boolean)} onChange told whether the daemon is heard
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

  /** Take the connection for lost where nothing more is heard. */
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

  /** Let the daemon rest while nobody can see the page. */
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
