// The part of a session's log that is in the page: a run of events, longer at both ends on demand.
import { batch, signal } from "@preact/signals";
import { readEvents, readTasks } from "../api";
import { follow } from "../live";
import type { EventPage, LogEvent, Task } from "../types";
import { fold, type Item } from "./fold";

/** Events of one page. */
const PAGE = 80;
/** Events that the page keeps; further ones push out those at the other end. */
const KEPT = 4000;

interface Segment {
  task: string;
  events: LogEvent[];
  /** The last number of the task's log, as far as known. */
  last: number;
  isFromStart: boolean;
  items: Item[];
}

/** Items that are as they were stay the same objects, so that their rows are not drawn again. */
function keepUnchanged(before: Item[], items: Item[]): Item[] {
  const known = new Map(before.map((item) => [item.key, item]));
  return items.map((item) => {
    const old = known.get(item.key);
    const isSame = old && old.kind === item.kind && old.till === item.till && old.cut.length === item.cut.length;
    return isSame && !(old.kind === "ask" && item.kind === "ask" && old.isOver !== item.isOver) ? old : item;
  });
}

/** What a view reads, and what it may ask for. */
export class Log {
  readonly items = signal<Item[]>([]);
  readonly tasks = signal<Task[]>([]);
  readonly error = signal("");
  readonly isLoading = signal(true);
  /** Whether the newest event of the newest task is in the page. */
  readonly isAtEnd = signal(true);
  readonly isAtStart = signal(false);
  private segments: Segment[] = [];
  private unfollow: (() => void) | undefined;
  private arrived: LogEvent[] = [];
  private frame = 0;
  private isBusy = false;
  private reading: Promise<void> = Promise.resolve();
  /** Where the list of tasks goes on with older ones: none at its end, `undefined` before its first page. */
  private olderTasks: string | undefined;
  private isClosed = false;

  constructor(
    readonly agent: string,
    readonly contextId: string,
    /** The newest task, as far as the rows say. */
    private readonly newestKnown: () => string | undefined,
  ) {}

  get newest(): Task | undefined {
    return this.tasks.value.at(-1);
  }

  /** What is loaded of a task: its first and last number, and the last there is. */
  rangeOf(task: string): { first: number; till: number; last: number } | undefined {
    const segment = this.segments.find((one) => one.task === task);
    if (!segment) return undefined;
    return { first: segment.events[0]?.seq ?? 1, till: segment.events.at(-1)?.seq ?? 1, last: segment.last };
  }

  close(): void {
    this.isClosed = true;
    this.unfollow?.();
    cancelAnimationFrame(this.frame);
  }

  /** Begins with the end of the newest task, or around an event. */
  async open(task?: string, seq?: number): Promise<void> {
    await this.attempt(async () => {
      const known = task ?? this.newestKnown();
      if (!known) this.takeTasks(await this.readTasks());
      const wanted = known ?? this.newest?.id;
      if (!wanted) return;
      if (!this.tasks.value.some(({ id }) => id === wanted)) this.tasks.value = [...this.tasks.value, { id: wanted, contextId: this.contextId, status: { state: "" } }];
      this.begin(wanted, await this.readPage(wanted, seq));
      // What is known to be there is shown first; the list of all tasks is more work for the server.
      if (known) void this.readTasks().then((tasks) => this.takeTasks(tasks), () => {});
    }, true);
  }

  private takeTasks(tasks: Task[]): void {
    if (this.isClosed) return;
    const wasAtEnd = this.isAtEnd.value;
    const before = this.newest?.id;
    const known = new Map([...this.tasks.value, ...tasks].map((task) => [task.id, task]));
    this.tasks.value = [...known.values()].sort((one, other) => one.id.localeCompare(other.id));
    if (this.segments.length === 0) return;
    this.refold([]);
    if (wasAtEnd && this.newest?.id !== before) void this.newer(true);
  }

  /** The newest tasks, and older ones up to that which is shown. */
  private async readTasks(): Promise<Task[]> {
    const isFirst = this.olderTasks === undefined;
    const found = await this.readTaskPage("", isFirst);
    const shown = this.segments[0]?.task ?? this.tasks.value[0]?.id;
    while (isFirst && shown && this.olderTasks && !found.some(({ id }) => id === shown)) found.push(...(await this.readTaskPage(this.olderTasks, true)));
    return found.sort((one, other) => one.id.localeCompare(other.id));
  }

  private async readTaskPage(from: string, isNext: boolean): Promise<Task[]> {
    const at = from ? `&pageToken=${encodeURIComponent(from)}` : "";
    const found = await readTasks(this.agent, `contextId=${encodeURIComponent(this.contextId)}&pageSize=100&historyLength=0${at}`);
    if (isNext) this.olderTasks = found.nextPageToken ?? "";
    return found.tasks ?? [];
  }

  private readPage(task: string, seq?: number): Promise<EventPage> {
    const query = seq === undefined ? `tail=1&limit=${PAGE}` : `after=${Math.max(0, seq - PAGE / 2)}&limit=${PAGE}`;
    return readEvents(task, `${query}&bodies=short`);
  }

  private begin(task: string, page: EventPage): void {
    if (this.isClosed) return;
    this.segments = [{ task, events: page.events, last: page.last, isFromStart: (page.events[0]?.seq ?? 1) <= Math.max(1, page.first), items: [] }];
    this.refold(this.segments);
    this.hearNewest();
  }

  private refold(changed: Segment[]): void {
    for (const segment of changed) segment.items = keepUnchanged(segment.items, fold(segment.task, segment.events));
    batch(() => {
      this.items.value = this.segments.flatMap((segment) => segment.items);
      const first = this.segments[0];
      this.isAtStart.value = !first || (first.isFromStart && first.task === this.tasks.value[0]?.id && !this.olderTasks);
      const last = this.segments.at(-1);
      this.isAtEnd.value = !last || (last.task === this.newest?.id && (last.events.at(-1)?.seq ?? 0) >= last.last);
    });
  }

  /** Follows the newest task where the end of its log is in the page. */
  private hearNewest(): void {
    this.unfollow?.();
    this.unfollow = undefined;
    const last = this.segments.at(-1);
    if (!last || last.task !== this.newest?.id || this.isClosed) return;
    this.unfollow = follow(last.task, last.last, (event) => {
      this.arrived.push(event);
      this.frame ||= requestAnimationFrame(() => this.takeArrived(last));
    }, (why) => (this.error.value = `What is new here is not told any more: ${why}`));
  }

  private takeArrived(segment: Segment): void {
    this.frame = 0;
    const arrived = this.arrived.splice(0);
    const wasAtEnd = (segment.events.at(-1)?.seq ?? 0) >= segment.last;
    segment.last = Math.max(segment.last, arrived.at(-1)?.seq ?? 0);
    // Somebody reads an older part: what is new is loaded when they come back.
    if (!wasAtEnd) return void (this.isAtEnd.value = false);
    const till = segment.events.at(-1)?.seq ?? 0;
    segment.events = [...segment.events, ...arrived.filter(({ seq }) => seq > till)];
    this.dropOldest();
    this.refold([segment]);
  }

  private dropOldest(): void {
    let over = this.segments.reduce((sum, { events }) => sum + events.length, 0) - KEPT;
    while (over > PAGE) {
      const first = this.segments[0]!;
      if (first.events.length <= over && this.segments.length > 1) {
        over -= first.events.length;
        this.segments.shift();
      } else {
        first.events = first.events.slice(over);
        first.isFromStart = false;
        over = 0;
      }
    }
  }

  /** Older events, of this task or the one before it. */
  async older(): Promise<void> {
    if (this.isAtStart.value) return;
    await this.attempt(async () => {
      const first = this.segments[0];
      if (!first) return;
      if (!first.isFromStart) {
        const page = await readEvents(first.task, `before=${first.events[0]?.seq ?? 1}&limit=${PAGE}&bodies=short`);
        first.events = [...page.events, ...first.events];
        first.isFromStart = page.events.length === 0 || page.events[0]!.seq <= Math.max(1, page.first);
        this.dropNewest();
        this.refold([first]);
        return;
      }
      if (first.task === this.tasks.value[0]?.id && this.olderTasks) this.takeTasks(await this.readTaskPage(this.olderTasks, true));
      const before = this.tasks.value[this.tasks.value.findIndex(({ id }) => id === first.task) - 1];
      if (!before) return void this.refold([]);
      const page = await readEvents(before.id, `tail=1&limit=${PAGE}&bodies=short`);
      const segment = { task: before.id, events: page.events, last: page.last, isFromStart: (page.events[0]?.seq ?? 1) <= Math.max(1, page.first), items: [] };
      this.segments.unshift(segment);
      this.refold([segment]);
    });
  }

  private dropNewest(): void {
    const all = this.segments.reduce((sum, { events }) => sum + events.length, 0);
    const last = this.segments.at(-1)!;
    if (all <= KEPT + PAGE) return;
    last.events = last.events.slice(0, Math.max(PAGE, last.events.length - (all - KEPT)));
    this.refold([last]);
  }

  /** Newer events, of this task or the one after it. */
  async newer(isWish = false): Promise<void> {
    if (this.isAtEnd.value) return;
    await this.attempt(async () => {
      const last = this.segments.at(-1);
      if (!last) return;
      const till = last.events.at(-1)?.seq ?? 0;
      if (till < last.last) {
        const page = await readEvents(last.task, `after=${till}&limit=${PAGE}&bodies=short`);
        last.events = [...last.events, ...page.events];
        last.last = page.events.length === 0 ? till : Math.max(page.last, till);
        this.dropOldest();
        this.refold([last]);
      } else {
        const after = this.tasks.value[this.tasks.value.findIndex(({ id }) => id === last.task) + 1];
        if (!after) return void this.refold([]);
        const page = await readEvents(after.id, `after=0&limit=${PAGE}&bodies=short`);
        const segment = { task: after.id, events: page.events, last: page.last, isFromStart: true, items: [] };
        this.segments.push(segment);
        this.refold([segment]);
        this.hearNewest();
      }
    }, isWish);
  }

  /** A task that has just begun joins. */
  async refresh(): Promise<void> {
    // The first reading has the tasks as well.
    await this.reading;
    const known = this.newestKnown();
    if (this.isClosed || (known !== undefined && this.tasks.value.some(({ id }) => id === known))) return;
    const found = await this.readTasks().catch(() => undefined);
    if (found) this.takeTasks(found);
    if (found && this.segments.length === 0) await this.open();
  }

  /** One reading at a time; what a person asked for waits for the one before it, what scrolling asked for does not. */
  private async attempt(work: () => Promise<void>, isWish = false): Promise<void> {
    if (this.isBusy && !isWish) return;
    const before = this.reading;
    this.reading = before.then(() => this.read(work));
    await this.reading;
  }

  private async read(work: () => Promise<void>): Promise<void> {
    if (this.isClosed) return;
    this.isBusy = true;
    this.isLoading.value = true;
    try {
      await work();
      this.error.value = "";
    } catch (failure) {
      this.error.value = failure instanceof Error ? failure.message : String(failure);
    }
    this.isLoading.value = false;
    this.isBusy = false;
  }

  /** Replaces cut events by whole ones. */
  readonly replace = (task: string, whole: LogEvent[]): void => {
    const segment = this.segments.find((one) => one.task === task);
    if (!segment) return;
    const bySeq = new Map(whole.map((event) => [event.seq, event]));
    segment.events = segment.events.map((event) => bySeq.get(event.seq) ?? event);
    this.refold([segment]);
  };
}
