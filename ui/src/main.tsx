// The page begins.
import { render } from "preact";
import { App } from "./app";
import * as live from "./live";
import { warmUp } from "./text/markdown";
import "./style.css";

live.start();
render(<App />, document.getElementById("app")!);
warmUp();
