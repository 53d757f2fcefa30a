// Reading again what is shown: one read at a time, and once more when something happened meanwhile, so that an answer that was on its
// way does not put an older state over a newer one.

export class Reader {
  private running: Promise<void> | null = null;
  private again = false;

  constructor(private readonly read: () => Promise<void>) {}

  start(): void {
    this.again = true;
    this.running ??= this.run();
  }

  /** There was news: what is being read may be older. */
  doubt(): void {
    if (this.running !== null) this.again = true;
  }

  private async run(): Promise<void> {
    try {
      while (this.again) {
        this.again = false;
        await this.read();
      }
    } finally {
      this.running = null;
    }
  }
}
